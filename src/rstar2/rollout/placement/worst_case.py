"""Room for the longest possible response, kept for life: the paper's policy (arXiv:2508.20722, 3.2).

A rollout is admitted where the free KV room covers its prompt and its longest response; it keeps that
room until it ends, also while its tools run. Nothing is ever evicted, but most of the room stays empty.
First come, first served: the head waits for room and nobody overtakes it, so none starves.
"""

from collections.abc import Iterator, Sequence

from rstar2.rollout.placement.policy import Order, Ready, Start
from rstar2.types import EngineLoad


class WorstCaseReservation:
    """Permits of `max_total_tokens`, given to the engine with most room left."""

    def __init__(self, num_engines: int) -> None:
        self._reserved = dict.fromkeys(range(num_engines), 0)
        self._permit_of: dict[str, tuple[int, int]] = {}  # rollout id -> (engine, tokens)
        self._returning: dict[str, Ready] = {}
        self._queue: dict[str, Ready] = {}

    def ready(self, rollout: Ready) -> None:
        has_permit = rollout.rollout_id in self._permit_of
        (self._returning if has_permit else self._queue)[rollout.rollout_id] = rollout

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """It keeps its room."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        self._queue.pop(rollout_id, None)
        self._returning.pop(rollout_id, None)
        permit = self._permit_of.pop(rollout_id, None)
        if permit is not None:
            engine, tokens = permit
            self._reserved[engine] -= tokens

    def engine_lost(self, engine: int) -> None:
        del self._reserved[engine]
        self._permit_of = {r: permit for r, permit in self._permit_of.items() if permit[0] != engine}
        orphans = {r: rollout for r, rollout in self._returning.items() if r not in self._permit_of}
        self._queue = orphans | self._queue  # who came first goes first
        self._returning = {r: rollout for r, rollout in self._returning.items() if r not in orphans}

    def engine_returned(self, engine: int) -> None:
        self._reserved[engine] = 0

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        started = [*self._returning, *self._admit(loads)]
        self._returning.clear()
        return [
            Start(rollout_id=rollout_id, engine=engine, reserved_tokens=tokens)
            for rollout_id in started
            for engine, tokens in (self._permit_of[rollout_id],)
        ]

    def _admit(self, loads: Sequence[EngineLoad]) -> Iterator[str]:
        while self._queue:
            rollout_id, rollout = next(iter(self._queue.items()))
            room = {engine: loads[engine].kv_tokens_total - used for engine, used in self._reserved.items()}
            engine = max(room, key=room.__getitem__)
            if room[engine] < rollout.max_total_tokens:
                return
            del self._queue[rollout_id]
            self._reserved[engine] += rollout.max_total_tokens
            self._permit_of[rollout_id] = (engine, rollout.max_total_tokens)
            yield rollout_id
