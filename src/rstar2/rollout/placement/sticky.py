"""Each rollout goes to one engine at its first turn and stays there; engines admit as they see fit.

Two rules for the first turn. `RoundRobinSticky` is the official release: it means to take the engine with
least requests, but its counters only ever grow. `LeastInflightSticky` is verl: fewest requests in flight.
"""

from collections.abc import Sequence

from rstar2.rollout.placement.policy import Order, Ready, Start
from rstar2.types import EngineLoad


class RoundRobinSticky:
    """First turns in rotation."""

    def __init__(self, num_engines: int) -> None:
        self._engines = list(range(num_engines))
        self._engine_of: dict[str, int] = {}
        self._num_placed = 0
        self._ready: dict[str, None] = {}

    def ready(self, rollout: Ready) -> None:
        self._ready[rollout.rollout_id] = None

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """It stays where it is."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        self._engine_of.pop(rollout_id, None)
        self._ready.pop(rollout_id, None)

    def engine_lost(self, engine: int) -> None:
        self._engines.remove(engine)
        self._engine_of = {r: e for r, e in self._engine_of.items() if e != engine}

    def engine_returned(self, engine: int) -> None:
        self._engines.append(engine)

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        orders: list[Order] = [
            Start(rollout_id=rollout_id, engine=self._engine(rollout_id), reserved_tokens=None)
            for rollout_id in self._ready
        ]
        self._ready.clear()
        return orders

    def _engine(self, rollout_id: str) -> int:
        if rollout_id not in self._engine_of:
            self._engine_of[rollout_id] = self._engines[self._num_placed % len(self._engines)]
            self._num_placed += 1
        return self._engine_of[rollout_id]


class LeastInflightSticky:
    """First turns to the engine with fewest turns in flight, the lowest index of equals."""

    def __init__(self, num_engines: int) -> None:
        self._num_inflight = dict.fromkeys(range(num_engines), 0)
        self._engine_of: dict[str, int] = {}
        self._running: set[str] = set()
        self._ready: dict[str, None] = {}

    def ready(self, rollout: Ready) -> None:
        self._running.discard(rollout.rollout_id)
        self._ready[rollout.rollout_id] = None

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        if rollout_id in self._running:
            self._running.remove(rollout_id)
            self._num_inflight[self._engine_of[rollout_id]] -= 1

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        self.turn_ended(rollout_id, num_tokens)
        self._engine_of.pop(rollout_id, None)
        self._ready.pop(rollout_id, None)

    def engine_lost(self, engine: int) -> None:
        del self._num_inflight[engine]
        lost = [rollout_id for rollout_id, its in self._engine_of.items() if its == engine]
        self._running.difference_update(lost)
        for rollout_id in lost:
            del self._engine_of[rollout_id]

    def engine_returned(self, engine: int) -> None:
        self._num_inflight[engine] = 0

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        orders: list[Order] = []
        for rollout_id in self._ready:
            engine = self._engine_of.get(rollout_id)
            if engine is None:
                engine = self._engine_of[rollout_id] = self._least_loaded()
            self._running.add(rollout_id)
            self._num_inflight[engine] += 1
            orders.append(Start(rollout_id=rollout_id, engine=engine, reserved_tokens=None))
        self._ready.clear()
        return orders

    def _least_loaded(self) -> int:
        return min(self._num_inflight, key=lambda engine: (self._num_inflight[engine], engine))
