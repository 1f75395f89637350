"""Playing and learning at the same time, at most `max_lag` versions apart.

    engines   play 5 | play 6 (by 5) | play 7 (by 6) | ...           max_lag = 1
    learner            learn 5 > v6  | learn 6 > v7  | learn 7 > v8

Batches and versions share their numbers: batch n is what version n learns from, and that step makes version
n + 1. So the lag of a batch is known before it begins: its number minus the version that the engines have.
With a lag of 0 the two take turns, which is the paper's loop. Engines take new weights between batches only.

What is played and learned is not known here: only who may begin when, and that both end together.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


def may_begin(batch: int, *, newest: int, max_lag: int) -> bool:
    """Whether a batch may be played with the newest version, given how old it will be when it is used."""
    return batch - newest <= max_lag


class Overlap(Generic[Batch]):
    """One who plays, one who learns, and the batches between them: each is learned from once, in order.

    `play(batch, version)` plays with the version that was last adopted; `learn` says whether to go on, and if
    so `publish` is called with the version that it made. Neither `publish` nor `adopt` ever runs beside the
    other, so a channel need not keep old versions.
    """

    def __init__(
        self,
        *,
        max_lag: int,
        publish: Callable[[int], Awaitable[None]],
        adopt: Callable[[int], Awaitable[None]],
        play: Callable[[int, int], Awaitable[Batch]],
        learn: Callable[[Batch], Awaitable[bool]],
    ) -> None:
        self._max_lag = max_lag
        self._publish, self._adopt = publish, adopt
        self._play, self._learn = play, learn
        self._channel = asyncio.Condition()
        self._newest = -1
        # The rule alone keeps it from being full.
        self._played: asyncio.Queue[Batch] = asyncio.Queue(max_lag + 1)

    async def run(self, first: int, last: int) -> None:
        """Batches `first` to `last`, or fewer if `learn` has enough; what is played by then is given up.

        If either side fails or this is cancelled, both have ended when this raises; of several failures the
        first one is raised.
        """
        await self._publish(first)
        self._newest = first
        failures: tuple[BaseException, ...] = ()
        try:
            async with asyncio.TaskGroup() as sides:
                player = sides.create_task(self._play_all(first, last), name="player")
                learner = sides.create_task(self._learn_all(first, last), name="learner")
                learner.add_done_callback(lambda _: player.cancel())
        except BaseExceptionGroup as group:
            failures = group.exceptions
        if failures:  # outside of the handler: the cause of a failure is its own, not our group
            raise failures[0]

    async def _play_all(self, first: int, last: int) -> None:
        adopted = -1
        for batch in range(first, last + 1):
            async with self._channel:
                await self._channel.wait_for(partial(self._may_begin, batch))
                if adopted < self._newest:
                    await self._adopt(self._newest)
                    adopted = self._newest
            await self._played.put(await self._play(batch, adopted))

    def _may_begin(self, batch: int) -> bool:
        return may_begin(batch, newest=self._newest, max_lag=self._max_lag)

    async def _learn_all(self, first: int, last: int) -> None:
        for batch in range(first, last + 1):
            if not await self._learn(await self._played.get()) or batch == last:
                return
            async with self._channel:
                await self._publish(batch + 1)
                self._newest = batch + 1
                self._channel.notify()
