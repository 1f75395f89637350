"""A policy that knows how long every rollout will be: no bound, but what knowledge alone would gain.

Nothing real can play it, so no config can choose it. Longest first; a rollout starts where there will be
room for it at every step until it ends; while the longest finds none, shorter ones may start. Each engine
gets an equal part of all reads. It never moves or stops anyone, and reckons without what tools delay.

All running rows gain one token per step, so a rollout that starts at step s holds x - s tokens at step x.
Shapes: E engines, X bins of steps since the start.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rstar2.rollout.placement.lengths import Floats
from rstar2.rollout.placement.policy import Order, Ready, Start
from rstar2.types import EngineLoad

_ROOM_SHARE = 0.99
"""The rest is for what tools delay."""
_EXTRA_READS = 1.003
"""What an engine may get of the mean: about one long rollout more, so that the last ones fit somewhere."""
_NUM_CLASSES = 64
"""Of lengths, and bins of steps up to the longest: finer differences do not count."""


class Clairvoyant:
    """For engines that are never lost; `lengths` are response tokens by rollout."""

    def __init__(self, num_engines: int, lengths: Mapping[str, int]) -> None:
        self._lengths = lengths
        self._bin_tokens = -(-max(lengths.values()) // _NUM_CLASSES)
        self._waiting: list[deque[Ready]] = [deque() for _ in range(_NUM_CLASSES + 1)]
        """By length, the longest last."""
        self._returning: list[str] = []
        self._started: dict[str, tuple[Ready, int]] = {}  # rollout id -> its first readiness, its engine
        self._untried = set(range(num_engines))
        self._room_EX = np.zeros((num_engines, 4 * _NUM_CLASSES))
        """Tokens that what has started holds, prompts aside, at the end of each bin."""
        self._members: list[Counter[str]] = [Counter() for _ in range(num_engines)]
        self._prompt_tokens = [0] * num_engines
        self._reads = [0.0] * num_engines
        self._due_reads = 0.0

    def ready(self, rollout: Ready) -> None:
        if rollout.rollout_id in self._started:
            self._returning.append(rollout.rollout_id)
        else:
            self._waiting[self._lengths[rollout.rollout_id] // self._bin_tokens].append(rollout)
            self._due_reads += _EXTRA_READS * self._reads_of(rollout) / len(self._reads)

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """It stays where it is."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        rollout, engine = self._started.pop(rollout_id)
        self._members[engine][rollout.group_id] -= 1
        if not self._members[engine][rollout.group_id]:
            self._prompt_tokens[engine] -= rollout.prompt_tokens
        self._untried.add(engine)

    def engine_lost(self, engine: int) -> None:
        raise NotImplementedError("a reference for engines that are never lost")

    def engine_returned(self, engine: int) -> None:
        raise NotImplementedError("a reference for engines that are never lost")

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        orders = [self._order(rollout_id) for rollout_id in self._returning]
        self._returning.clear()
        if self._untried:
            orders += self._begin({engine: loads[engine] for engine in self._untried})
            self._untried.clear()
        return orders

    def _begin(self, loads: Mapping[int, EngineLoad]) -> Iterator[Order]:
        """Of each class of lengths, as many as find room."""
        for waiting in reversed(self._waiting):
            while waiting:
                fitting = [engine for engine, load in loads.items() if self._fits(waiting[0], engine, load)]
                if not fitting:
                    break
                rollout = waiting.popleft()
                engine = min(fitting, key=lambda engine: self._preference(rollout, engine))
                self._take(rollout, engine, loads[engine].num_steps)
                yield self._order(rollout.rollout_id)

    def _fits(self, rollout: Ready, engine: int, load: EngineLoad) -> bool:
        """Whether the engine is due for it and has room until it ends; an empty one takes anything."""
        if not self._members[engine].total():
            return True
        held_X, first = self._held_X(rollout, load.num_steps), load.num_steps // self._bin_tokens
        taken_X = self._room_EX[engine, first : first + len(held_X)]
        peak = (taken_X + held_X[: len(taken_X)]).max() + self._prompt_tokens[engine] + rollout.prompt_tokens
        is_due = self._reads[engine] + self._reads_of(rollout) <= self._due_reads
        return is_due and bool(peak <= _ROOM_SHARE * load.kv_tokens_total)

    def _preference(self, rollout: Ready, engine: int) -> tuple[bool, float]:
        """Where the prompt has been computed, then where least is to be read."""
        return not self._members[engine][rollout.group_id], self._reads[engine]

    def _take(self, rollout: Ready, engine: int, step: int) -> None:
        held_X, first = self._held_X(rollout, step), step // self._bin_tokens
        while first + len(held_X) > self._room_EX.shape[1]:
            self._room_EX = np.hstack([self._room_EX, np.zeros_like(self._room_EX)])
        self._room_EX[engine, first : first + len(held_X)] += held_X
        if not self._members[engine][rollout.group_id]:
            self._prompt_tokens[engine] += rollout.prompt_tokens
        self._members[engine][rollout.group_id] += 1
        self._reads[engine] += self._reads_of(rollout)
        self._started[rollout.rollout_id] = (rollout, engine)

    def _held_X(self, rollout: Ready, step: int) -> Floats:
        """Its tokens at the end of each bin, from the one that `step` is in to the one that it ends in."""
        length, offset = self._lengths[rollout.rollout_id], step % self._bin_tokens
        ends = np.arange(1, (offset + length) // self._bin_tokens + 2) * float(self._bin_tokens) - offset
        return np.asarray(np.minimum(ends, length))

    def _reads_of(self, rollout: Ready) -> float:
        length = self._lengths[rollout.rollout_id]
        return length * (length / 2 + rollout.prompt_tokens)

    def _order(self, rollout_id: str) -> Order:
        return Start(rollout_id=rollout_id, engine=self._started[rollout_id][1], reserved_tokens=0)
