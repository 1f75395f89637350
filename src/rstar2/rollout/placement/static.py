"""Everything split up front, a barrier after every turn: verl 0.2, which the paper started from.

Each engine receives an equal, contiguous part of the batch before anything runs. It writes one turn of
all its rollouts, then their tool calls run together, then the next turn begins (arXiv:2508.20722, 3.2).
"""

from collections.abc import Sequence

from rstar2.rollout.placement.policy import Order, Ready, Start
from rstar2.types import EngineLoad


class Static:
    """A part per engine; a turn starts when all of the part is ready for it."""

    def __init__(self, num_engines: int) -> None:
        self._alive = [True] * num_engines
        self._engine_of: dict[str, int] = {}
        self._unplaced: list[str] = []
        self._ready: list[dict[str, None]] = [{} for _ in range(num_engines)]
        self._num_members = [0] * num_engines
        self._changed: set[int] = set()

    def ready(self, rollout: Ready) -> None:
        engine = self._engine_of.get(rollout.rollout_id)
        if engine is None:
            self._unplaced.append(rollout.rollout_id)
        else:
            self._ready[engine][rollout.rollout_id] = None
            self._changed.add(engine)

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """The barrier waits for its tool."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        engine = self._engine_of.pop(rollout_id, None)
        if engine is not None:
            self._num_members[engine] -= 1
            self._ready[engine].pop(rollout_id, None)
            self._changed.add(engine)

    def engine_lost(self, engine: int) -> None:
        """Its part is split again over the others."""
        self._alive[engine] = False
        self._num_members[engine] = 0
        self._unplaced += self._ready[engine]
        self._ready[engine].clear()
        self._engine_of = {r: e for r, e in self._engine_of.items() if e != engine}

    def engine_returned(self, engine: int) -> None:
        """It gets a part of what comes from now on."""
        self._alive[engine] = True

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        self._split()
        orders: list[Order] = []
        for engine in self._changed:
            if self._alive[engine] and len(self._ready[engine]) == self._num_members[engine]:
                orders += [
                    Start(rollout_id=rollout_id, engine=engine, reserved_tokens=None)
                    for rollout_id in self._ready[engine]
                ]
                self._ready[engine].clear()
        self._changed.clear()
        return orders

    def _split(self) -> None:
        engines = [engine for engine, alive in enumerate(self._alive) if alive]
        for position, rollout_id in enumerate(self._unplaced):
            engine = engines[position * len(engines) // len(self._unplaced)]
            self._engine_of[rollout_id] = engine
            self._num_members[engine] += 1
            self._ready[engine][rollout_id] = None
            self._changed.add(engine)
        self._unplaced.clear()
