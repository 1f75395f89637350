"""Work side by side that ends together: nothing of it goes on when the whole has returned or raised."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(works: Iterable[Coroutine[object, None, T]]) -> list[T]:
    """The results, in order; of several failures the first one, as it was raised.

    `asyncio.gather` is done with the first work that fails or is cancelled, whatever the others still do.
    Here each of the others is cancelled once, and has ended, with its clean-up, before this raises.
    """
    failures: tuple[BaseException, ...] = ()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as raised:
        failures = raised.exceptions
    if failures:  # outside of the handler: the cause of a failure is its own, not our group
        raise failures[0]
    return [task.result() for task in tasks]
