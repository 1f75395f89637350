"""What lives in the process of an engine: the engine itself, and what it tells of its state.

Every answer carries a snapshot, so that the other side can say how loaded the engine is without asking.
Calls between processes may overtake each other: each is numbered, and a release concerns only what was
asked for before it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, TypeAlias

from rstar2.ports import Engine, WeightChannel
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest


class CountingEngine(Engine, Protocol):
    """An engine that counts what it does."""

    @property
    def stats(self) -> Any:
        """A frozen dataclass of counters since construction; those named `peak_` are peaks."""


BuildEngine: TypeAlias = Callable[[], Awaitable[CountingEngine]]
"""Picklable; called in the process that the engine is to live in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an engine knew of itself when it answered."""

    load: EngineLoad
    stats: Any
    last_call: int
    """Highest number of a turn that it had been asked for by then."""
    number: int
    """Of the snapshots of its process: answers may overtake each other."""


class EngineActor:
    """An engine that is called from another process."""

    def __init__(self) -> None:
        self._engine: CountingEngine
        self._last_call = 0
        self._running: dict[str, int] = {}
        """Number of the turn that each rollout has here."""
        self._released: dict[str, int] = {}
        """Number of each rollout's last release, since the last adoption."""
        self._snapshots = count(1)

    async def start(self, build: BuildEngine) -> Snapshot:
        self._engine = await build()
        return self._snapshot()

    async def generate(self, number: int, request: GenerationRequest) -> tuple[Generation, Snapshot]:
        rollout_id = request.rollout_id
        self._last_call = max(self._last_call, number)
        if self._released.get(rollout_id, 0) > number:  # the release has overtaken its turn
            return self._nothing(), self._snapshot()
        if rollout_id in self._running:  # this turn has overtaken the release of an earlier one
            self._engine.release(rollout_id)
        self._running[rollout_id] = number
        try:
            generation = await self._engine.generate(request)
        finally:
            if self._running.get(rollout_id) == number:
                del self._running[rollout_id]
        return generation, self._snapshot()

    async def release(self, number: int, rollout_id: str) -> None:
        self._released[rollout_id] = number
        if self._running.get(rollout_id, 0) < number:
            self._engine.release(rollout_id)

    async def adopt(self, channel: WeightChannel, version: int) -> Snapshot:
        await self._engine.adopt(channel, version)
        self._released.clear()
        return self._snapshot()

    async def snapshot(self) -> Snapshot:
        return self._snapshot()

    async def close(self) -> None:
        await self._engine.close()

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            load=self._engine.load(),
            stats=self._engine.stats,
            last_call=self._last_call,
            number=next(self._snapshots),
        )

    def _nothing(self) -> Generation:
        version = self._engine.load().version
        return Generation(token_ids=(), logprobs=(), finish=FinishReason.RELEASED, version=version)
