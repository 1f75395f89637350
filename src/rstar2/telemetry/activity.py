"""What was under way at every moment: kinds of work, and how many of each at once.

    with activity.span(Work.TOOLS): ...     in any task or thread, nested and at once as it comes
    window = activity.window()              since the last window: what a step was made of

A window is of bounded size, however much happened in it. Wall-clock time is all that it knows: a turn that
waits for room at an engine counts as generation, as its rollout can do nothing else.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

NUM_PARTS = 60
"""Of a window, equally long."""


class Work(StrEnum):
    """Kinds of work of an RL step."""

    GENERATION = "generation"
    """Turns that an engine writes or that wait for one."""
    TOOLS = "tools"
    REWARD = "reward"
    """Rollouts that are being graded."""
    LEARNER = "learner"
    """The optimizer step, and handing the new weights to the engines."""


Event = tuple[float, Work, int]
"""(time, kind, +1 when one begins and -1 when one ends)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened between two moments."""

    wall_s: float
    in_flight: Mapping[str, tuple[float, ...]]
    """By kind of work: how many were under way, averaged over each of `NUM_PARTS` parts."""
    shares_s: Mapping[str, float]
    """Seconds by what went on, each moment counted once (`what_goes_on`); they sum to `wall_s`."""


def what_goes_on(under_way: Mapping[Work, int]) -> str:
    """One word for a moment: what keeps the machines, as tools beside generation hold nobody up."""
    if under_way[Work.LEARNER]:
        return "both" if under_way[Work.GENERATION] else "learner"
    for work in (Work.GENERATION, Work.TOOLS, Work.REWARD):
        if under_way[work]:
            return work.value
    return "idle"


class Activity:
    """Collects spans of work; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._under_way = dict.fromkeys(Work, 0)
        """When the window began."""
        self._began_at = clock()

    @contextmanager
    def span(self, work: Work) -> Iterator[None]:
        self._note(work, 1)
        try:
            yield
        finally:
            self._note(work, -1)

    def window(self) -> Window:
        """What happened since the last call; what is still under way goes on in the next window."""
        with self._lock:
            began_at, self._began_at = self._began_at, self._clock()
            ended_at, (events, self._events) = self._began_at, (self._events, [])
            under_way, self._under_way = self._under_way, dict(self._under_way)
            for _, work, change in events:
                self._under_way[work] += change
        return _window(events, dict(under_way), began_at, ended_at)

    def _note(self, work: Work, change: int) -> None:
        with self._lock:
            self._events.append((self._clock(), work, change))


def _window(events: Sequence[Event], under_way: dict[Work, int], began_at: float, ended_at: float) -> Window:
    """Walks through the events once; between two of them nothing changes."""
    part_s = (ended_at - began_at) / NUM_PARTS
    seconds = {work: [0.0] * NUM_PARTS for work in Work}
    shares_s: dict[str, float] = {}
    since = began_at
    for at, work, change in [*events, (ended_at, Work.LEARNER, 0)]:
        state = what_goes_on(under_way)
        shares_s[state] = shares_s.get(state, 0.0) + at - since
        for kind, count in under_way.items():
            if count:
                _spread(seconds[kind], count, since - began_at, at - began_at, part_s)
        under_way[work] += change
        since = at
    in_flight = {
        work.value: tuple(round(s / part_s, 3) if part_s else 0.0 for s in seconds[work]) for work in Work
    }
    return Window(wall_s=ended_at - began_at, in_flight=in_flight, shares_s=shares_s)


def _spread(parts: list[float], count: int, begin_s: float, end_s: float, part_s: float) -> None:
    """Add `count` times the seconds from begin to end to the parts that they fall into."""
    if end_s <= begin_s:
        return
    first, last = int(begin_s / part_s), min(int(end_s / part_s), NUM_PARTS - 1)
    for number in range(first, last + 1):
        overlap_s = min(end_s, (number + 1) * part_s) - max(begin_s, number * part_s)
        parts[number] += count * max(0.0, overlap_s)
