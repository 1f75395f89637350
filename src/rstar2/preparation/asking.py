"""Many questions to a served model at once, each kept as soon as it is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from rstar2.preparation.journal import Journal

Item = TypeVar("Item")


async def ask_all(
    items: Iterable[tuple[str, Item]],
    ask: Callable[[Item], Awaitable[Mapping[str, Any] | None]],
    journal: Journal,
    *,
    num_at_once: int,
    on_answer: Callable[[], None],
) -> None:
    """Answers those (id, item) pairs that the journal does not have; the first failure ends it all.

    None is no answer: the journal stays without one, so that it is asked for again the next time.
    """
    waiting = iter(items)

    async def work() -> None:
        for key, item in waiting:
            if key not in journal:
                if (answer := await ask(item)) is not None:
                    journal.add(key, answer)
                on_answer()

    workers = [asyncio.create_task(work()) for _ in range(num_at_once)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
