"""Work in a thread that is never left behind."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the call; meanwhile the event loop is free.

    A thread cannot be stopped: when the caller is cancelled, it still ends only after the call has ended, so
    that nothing writes into a learner or a checkpoint whose owner is gone.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
