"""Keeps one remote object alive: starts it, waits for its end, starts it again.

    start --> ready, up --> its end --pause--> start ...     (supervision.py says how often, how soon)
                                     '--too often--> gone

What makes an object ready, and how its end is noticed, is the caller's business.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

from rstar2.cluster.remote import Launch, Lost, Remote
from rstar2.cluster.supervision import Restarts

_log = logging.getLogger(__name__)

START_LIMIT_S = 1800.0
"""From launch to ready: a large model is read, and a cluster may have to find room first."""
_CLOSE_LIMIT_S = 15.0


async def together(starts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them at the same time; if one fails, the others are broken off before that is raised."""
    tasks = [asyncio.create_task(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class Keeper:
    """Of one object, which must have a method `close`.

    `prepare` makes it ready, `watch` returns when it has come to its end.
    """

    def __init__(
        self,
        name: str,
        launch: Launch,
        *,
        prepare: Callable[[Remote], Awaitable[None]],
        watch: Callable[[Remote], Awaitable[None]],
        on_gone: Callable[[], None] = lambda: None,
        restarts: Restarts | None = None,
    ) -> None:
        """`on_gone` is called when it is given up."""
        self._name = name
        self._launch = launch
        self._prepare = prepare
        self._watch = watch
        self._on_gone = on_gone
        self._restarts = restarts or Restarts()
        self._remote: Remote | None = None
        """That is ready, as far as known."""
        self._task: asyncio.Task[None] | None = None
        self.num_replacements = 0

    async def start(self) -> None:
        """The first time; what goes wrong is raised, as it is no accident."""
        remote = await self._start()
        self._task = asyncio.create_task(self._keep(remote), name=f"keeper of {self._name}")

    async def close(self) -> None:
        """End it, and do not start it again."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._remote is not None:
            with suppress(Lost, TimeoutError):
                await asyncio.wait_for(self._remote.call("close"), _CLOSE_LIMIT_S)
            self._remote.kill()

    async def _start(self) -> Remote:
        remote = self._launch()
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await self._prepare(remote)
        except BaseException:
            remote.kill()
            raise
        self._remote = remote
        return remote

    async def _keep(self, remote: Remote) -> None:
        clock = asyncio.get_running_loop().time
        await self._end(remote)
        while (pause_s := self._restarts.died(clock())) is not None:
            await asyncio.sleep(pause_s)
            try:
                remote = await self._start()
            except Exception as error:  # survivable, whatever it is: it is tried again, and that is bounded
                _log.warning("%s could not be replaced: %r", self._name, error)
                continue
            self.num_replacements += 1
            _log.warning("%s is replaced", self._name)
            await self._end(remote)
        _log.error("%s died %d times: it is given up", self._name, self._restarts.most + 1)
        self._on_gone()

    async def _end(self, remote: Remote) -> None:
        """Wait for its end."""
        try:
            await self._watch(remote)
        except Exception as error:  # survivable: what cannot be watched is replaced
            _log.warning("%s cannot be watched: %r", self._name, error)
        self._remote = None
        remote.kill()  # what does not answer may still be there
