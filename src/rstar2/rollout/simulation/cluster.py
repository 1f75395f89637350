"""The events of a rollout phase: turns end, tools return, engines die; a policy decides what runs where.

Everything is ready at time 0. What the policy hears is what the dispatcher would tell it; the lengths of
the rollouts stay between the traces and the engines. Deterministic: equal times are served in order of
their making.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from rstar2.rollout.placement.policy import Policy, Ready, Start
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.outcome import Outcome
from rstar2.rollout.simulation.rows import Row
from rstar2.rollout.workload import RolloutTrace
from rstar2.types import EngineLoad


@dataclass(slots=True, eq=False)
class _Course:
    """How far a rollout has come."""

    trace: RolloutTrace
    rollout_id: str
    num_tokens: int
    turn: int = 0
    written: int = 0
    """Of the present turn."""
    num_computed: int = 0
    engine: int | None = None
    """That its last or present turn runs on."""
    is_running: bool = False

    @property
    def ready(self) -> Ready:
        return Ready(
            rollout_id=self.rollout_id,
            group_id=self.trace.problem_id,
            prompt_tokens=self.trace.prompt_tokens,
            num_tokens=self.num_tokens,
            max_total_tokens=self.trace.prompt_tokens + self.trace.max_response_tokens,
        )

    def row(self, *, is_reserved: bool) -> Row:
        trace = self.trace
        return Row(
            rollout_id=self.rollout_id,
            group_id=trace.problem_id,
            prompt_tokens=trace.prompt_tokens,
            num_tokens=self.num_tokens,
            num_computed=self.num_computed,
            to_write=trace.turns[self.turn].new_tokens - self.written,
            max_new_tokens=trace.prompt_tokens + trace.max_response_tokens - self.num_tokens,
            is_reserved=is_reserved,
        )


def rollout_ids(traces: Sequence[RolloutTrace]) -> list[str]:
    """By which a policy hears of these rollouts."""
    return [f"{trace.problem_id}/{trace.index}/{position}" for position, trace in enumerate(traces)]


class Cluster:
    """Engines in virtual time."""

    def __init__(self, engines: Sequence[SimulatedEngine], policy: Policy) -> None:
        self._engines = tuple(engines)
        self._policy = policy
        self._lost: set[int] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._num_events = 0
        self._scheduled_s = [float("inf")] * len(self._engines)
        self._now_s = 0.0
        self._courses: dict[str, _Course] = {}
        self._finished_s: list[float] = []
        self._num_moves = self._num_stops = 0

    def run(self, traces: Sequence[RolloutTrace], *, losses: Sequence[tuple[float, int]] = ()) -> Outcome:
        """Play all rollouts to their ends; `losses` are engines that die: (time, index)."""
        for lost_s, engine in losses:
            self._at(lost_s, lambda engine=engine: self._lose(engine))  # type: ignore[misc]
        for rollout_id, trace in zip(rollout_ids(traces), traces, strict=True):
            self._courses[rollout_id] = course = _Course(trace, rollout_id, trace.prompt_tokens)
            self._policy.ready(course.ready)
        self._decide()
        while self._events and len(self._finished_s) < len(traces):
            self._now_s, _, act = heapq.heappop(self._events)
            act()
        assert len(self._finished_s) == len(traces), f"{len(traces) - len(self._finished_s)} rollouts starve"
        return Outcome(
            finished_s=tuple(self._finished_s),
            engines=tuple(engine.counts for engine in self._engines),
            histories=tuple(tuple(engine.history) for engine in self._engines),
            num_moves=self._num_moves,
            num_stops=self._num_stops,
        )

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        self._num_events += 1
        heapq.heappush(self._events, (at_s, self._num_events, act))

    def _decide(self) -> None:
        """Carry out the policy's orders, all of them before any engine takes note."""
        touched = []
        for order in self._policy.decide(_Loads(self._engines, self._now_s)):
            course = self._courses[order.rollout_id]
            if isinstance(order, Start):
                self._start(course, order)
                touched.append(order.engine)
            elif course.engine is not None:
                if course.is_running:
                    self._engines[course.engine].stop(course.rollout_id)
                    self._num_stops += 1
                    touched.append(course.engine)
                else:
                    self._engines[course.engine].release(course.rollout_id)
        for engine in dict.fromkeys(touched):
            self._engines[engine].wake(self._now_s)
            self._schedule(engine)

    def _start(self, course: _Course, order: Start) -> None:
        assert not course.is_running
        assert order.engine not in self._lost
        if course.engine is not None and course.engine != order.engine:
            self._num_moves += 1
            self._engines[course.engine].release(course.rollout_id)
        course.engine, course.is_running = order.engine, True
        self._engines[order.engine].submit(course.row(is_reserved=order.reserved_tokens is not None))

    def _schedule(self, engine: int) -> None:
        """One valid event per engine: the end of its present segment."""
        next_s = self._engines[engine].next_s
        if next_s != self._scheduled_s[engine]:
            self._scheduled_s[engine] = next_s
            if next_s != float("inf"):
                self._at(next_s, lambda: self._advance(engine, next_s))

    def _advance(self, engine: int, scheduled_s: float) -> None:
        if scheduled_s != self._scheduled_s[engine]:
            return  # the segment was cut or the engine lost
        ended = self._engines[engine].advance()
        for row in ended:
            self._take(self._courses[row.rollout_id], row)
        if ended:
            self._decide()
        if self._engines[engine].next_s == float("inf"):  # else the decision has woken it
            self._engines[engine].wake(self._now_s)
        self._schedule(engine)

    def _take(self, course: _Course, row: Row) -> None:
        """A row came back: its turn has ended, or was broken off."""
        course.is_running = False
        course.num_tokens = course.num_computed = row.num_tokens
        turn = course.trace.turns[course.turn]
        if row.to_write:
            course.written = turn.new_tokens - row.to_write
            self._policy.ready(course.ready)
            return
        course.turn, course.written = course.turn + 1, 0
        if course.turn == len(course.trace.turns):
            self._finish(course)
        else:
            self._policy.turn_ended(course.rollout_id, course.num_tokens)
            self._at(self._now_s + turn.tool_s, lambda: self._return_tool(course, turn.tool_response_tokens))

    def _finish(self, course: _Course) -> None:
        assert course.engine is not None
        del self._courses[course.rollout_id]
        self._engines[course.engine].release(course.rollout_id)
        self._policy.ended(course.rollout_id, course.num_tokens, is_complete=True)
        self._finished_s.append(self._now_s)

    def _return_tool(self, course: _Course, response_tokens: int) -> None:
        course.num_tokens += response_tokens
        self._policy.ready(course.ready)
        self._decide()

    def _lose(self, engine: int) -> None:
        """What its turns had written is gone with it; they begin again elsewhere."""
        self._lost.add(engine)
        self._scheduled_s[engine] = float("inf")
        self._engines[engine].next_s = float("inf")
        self._policy.engine_lost(engine)
        for course in self._courses.values():
            if course.engine == engine:
                course.engine = None
                if course.is_running:
                    course.is_running = False
                    self._policy.ready(course.ready)
        self._decide()


class _Loads(Sequence[EngineLoad]):
    """Every engine's load, made when it is asked for."""

    def __init__(self, engines: Sequence[SimulatedEngine], now_s: float) -> None:
        self._engines = engines
        self._now_s = now_s

    def __len__(self) -> int:
        return len(self._engines)

    @overload
    def __getitem__(self, index: int) -> EngineLoad: ...

    @overload
    def __getitem__(self, index: slice) -> list[EngineLoad]: ...

    def __getitem__(self, index: int | slice) -> EngineLoad | list[EngineLoad]:
        if isinstance(index, slice):
            return [engine.load(self._now_s) for engine in self._engines[index]]
        return self._engines[index].load(self._now_s)
