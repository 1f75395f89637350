"""Where the time of each RL step went: from metrics and timelines to plain data, nothing is drawn here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

MOST_TIMELINES = 200
"""Steps of which the course is shown, spread evenly; the others have their shares."""
_SHARES_OF_METRICS = {"generation": "generate_s", "learner": "learn_s"}
"""For runs that kept no timeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnatomy:
    """One RL step."""

    phase: str
    step: int
    wall_s: float
    shares_s: Mapping[str, float]
    """Seconds by what went on, each moment counted once (`telemetry.activity.what_goes_on`)."""
    in_flight: Mapping[str, Sequence[float]] | None
    """By kind of work: how many at once, over equal parts of the step; None if it is not shown."""


def anatomies(metrics: Iterable[Record], timelines: Iterable[Record]) -> list[StepAnatomy]:
    """Of every RL step, in the order of the run."""
    timeline_of = {(record["phase"], record["step"]): record for record in timelines}
    steps = [record for record in metrics if "generate_s" in record]
    shown = spread(len(steps), MOST_TIMELINES)
    return [
        _anatomy(record, timeline_of.get((record["phase"], record["step"])), is_shown=number in shown)
        for number, record in enumerate(steps)
    ]


def spread(count: int, most: int) -> set[int]:
    """At most `most` of the numbers below `count`, evenly spread, the first and the last among them."""
    if count <= most:
        return set(range(count))
    return {round(i * (count - 1) / (most - 1)) for i in range(most)}


def _anatomy(metrics: Record, timeline: Record | None, *, is_shown: bool) -> StepAnatomy:
    if timeline is None:
        shares_s = {work: metrics[name] for work, name in _SHARES_OF_METRICS.items()}
        wall_s, in_flight = sum(shares_s.values()), None
    else:
        shares_s, wall_s = timeline["shares_s"], timeline["wall_s"]
        in_flight = timeline["in_flight"] if is_shown else None
    return StepAnatomy(
        phase=metrics["phase"],
        step=metrics["step"],
        wall_s=round(wall_s, 3),
        shares_s={work: round(seconds, 3) for work, seconds in shares_s.items()},
        in_flight=in_flight and {work: [round(n, 2) for n in counts] for work, counts in in_flight.items()},
    )
