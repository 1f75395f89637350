"""One queue that every engine drains without a limit, turn by turn: RLinf.

A later turn is a new message and lands on whichever engine asks next, so its whole prefix is computed
again unless chance brings it back.
"""

from collections.abc import Sequence

from rstar2.rollout.placement.policy import Order, Ready, Start
from rstar2.types import EngineLoad


class GreedyQueue:
    """Turns in rotation: engines that never stop asking are served in the order in which they asked."""

    def __init__(self, num_engines: int) -> None:
        self._engines = list(range(num_engines))
        self._num_started = 0
        self._ready: dict[str, None] = {}

    def ready(self, rollout: Ready) -> None:
        self._ready[rollout.rollout_id] = None

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """Nothing is remembered of it."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        self._ready.pop(rollout_id, None)

    def engine_lost(self, engine: int) -> None:
        self._engines.remove(engine)

    def engine_returned(self, engine: int) -> None:
        self._engines.append(engine)

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        orders: list[Order] = []
        for rollout_id in self._ready:
            engine = self._engines[self._num_started % len(self._engines)]
            self._num_started += 1
            orders.append(Start(rollout_id=rollout_id, engine=engine, reserved_tokens=None))
        self._ready.clear()
        return orders
