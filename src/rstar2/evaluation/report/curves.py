"""Which curves a report shows, and their points: from metric records to plain data, nothing is drawn here.

RL stages share one axis, on which steps are numbered through; supervised phases have a chart each.
A point is left out where a step has no such number (no group to learn from) or it is not finite.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Record = Mapping[str, object]
Format = Literal["share", "number"]
Point = tuple[int, float]
"""Step (counted from 1) and value to six digits, more than a curve shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The steps of one stage, both ends included."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over steps."""

    title: str
    unit: str
    format: Format
    x_label: str
    lines: tuple[Line, ...]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a chart shows: label and metric of each of its lines."""

    title: str
    unit: str
    lines: Mapping[str, str]
    format: Format = "number"
    is_trouble: bool = False
    """Usually 0 at every step, and then not worth a chart."""


_RL_PLANS = (
    _Plan(
        title="Reward",
        unit="mean over rollouts, 0 to 1",
        lines={"all": "reward", "kept by RoC": "kept_reward"},
    ),
    _Plan(
        title="Tool errors",
        unit="share of tool calls",
        format="share",
        lines={"in all rollouts": "tool_error_rate", "in right ones": "tool_error_rate_correct"},
    ),
    _Plan(title="Length", unit="tokens per rollout", lines={"tokens": "tokens_per_rollout"}),
    _Plan(title="Tool use", unit="calls per rollout", lines={"calls": "calls_per_rollout"}),
    _Plan(
        title="Cut off by the token limit",
        unit="share of rollouts",
        format="share",
        lines={"cut off": "clip_ratio"},
    ),
    _Plan(
        title="Groups without a lesson",
        unit="share of groups",
        format="share",
        lines={"all right": "all_correct_share", "all wrong": "all_wrong_share"},
    ),
    _Plan(title="Policy loss", unit="per token", lines={"loss": "learner_loss"}),
    _Plan(title="Gradient norm", unit="before clipping", lines={"norm": "learner_grad_norm"}),
    _Plan(
        title="Tokens held back",
        unit="share of tokens",
        format="share",
        lines={"clipped": "learner_clip_fraction", "capped": "learner_capped_fraction"},
        is_trouble=True,
    ),
    _Plan(title="Entropy", unit="nats per token", lines={"entropy": "learner_entropy_nats"}),
    _Plan(
        title="Engine against learner",
        unit="mean |difference of log-probs|, nats",
        lines={"mismatch": "learner_mismatch"},
    ),
    _Plan(
        title="Age of what was learned from",
        unit="versions of the weights",
        lines={"lag": "lag_versions"},
        is_trouble=True,
    ),
    _Plan(
        title="Lost rollouts",
        unit="dropped after retries, per step",
        lines={"lost": "dropped"},
        is_trouble=True,
    ),
    _Plan(
        title="Time of a step",
        unit="seconds",
        lines={"generating": "generate_s", "learning": "learn_s"},
    ),
)
_SUPERVISED_PLANS = {
    "base": _Plan(title="Pre-training loss", unit="nats per token", lines={"loss": "loss"}),
    "sft": _Plan(title="SFT loss", unit="nats per token", lines={"loss": "loss"}),
}


def charts(records: Iterable[Record]) -> list[Chart]:
    """All charts that have a point to show, RL first; `records` are the lines of metrics.jsonl."""
    records = list(records)
    steps = [record for record in records if record["phase"] not in _SUPERVISED_PLANS]
    spans = _spans(steps)
    all_charts = [_chart(plan, steps, x_label="RL step", spans=spans) for plan in _RL_PLANS]
    for phase, plan in _SUPERVISED_PLANS.items():
        of_phase = [record for record in records if record["phase"] == phase]
        all_charts.append(_chart(plan, of_phase, x_label="step"))
    return [chart for chart in all_charts if chart is not None]


def _chart(
    plan: _Plan, records: Sequence[Record], *, x_label: str, spans: tuple[Span, ...] = ()
) -> Chart | None:
    """None where there is nothing to see."""
    lines = tuple(Line(label=label, points=_points(records, key)) for label, key in plan.lines.items())
    values = [value for line in lines for _, value in line.points]
    if not values or (plan.is_trouble and not any(values)):
        return None
    return Chart(
        title=plan.title, unit=plan.unit, format=plan.format, x_label=x_label, lines=lines, spans=spans
    )


def _points(records: Sequence[Record], key: str) -> tuple[Point, ...]:
    values = ((x, record.get(key)) for x, record in enumerate(records, start=1))
    return tuple((x, float(f"{y:.6g}")) for x, y in values if isinstance(y, int | float) and math.isfinite(y))


def _spans(records: Sequence[Record]) -> tuple[Span, ...]:
    spans = []
    for name, steps in groupby(enumerate(records, start=1), key=lambda step: str(step[1]["phase"])):
        numbers = [number for number, _ in steps]
        spans.append(Span(name=name, first=numbers[0], last=numbers[-1]))
    return tuple(spans)
