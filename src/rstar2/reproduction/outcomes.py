"""What became of a trial: its measurements on held-out problems, and its curves over the RL steps."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from rstar2.errors import DataError
from rstar2.evaluation.samples import Record, has_failed_call
from rstar2.reproduction.trials import Trial
from rstar2.telemetry import JsonLines

_SUPERVISED = ("base", "sft")
WINDOW_STEPS = 3
"""Over which the end of a curve is averaged: one step is noisy."""

_MEASURED_AMONG = {
    "tool_error_rate": ("calls_per_rollout",),
    "tool_error_rate_correct": ("calls_per_rollout", "reward", "calls_per_correct_rollout"),
}
"""Where one of these is zero, there was no call, or none in a right rollout, that could have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One RL step of a trial."""

    stage: str
    generated_tokens: int
    """By this trial's engines, from its first RL step to the end of this one."""
    values: Mapping[str, float]
    """The metrics of the step, by name."""

    def value(self, metric: str) -> float | None:
        """None where there was nothing to measure, which the step's record counts as zero."""
        among = _MEASURED_AMONG.get(metric, ())
        return self.values[metric] if all(self.values.get(name, 1.0) for name in among) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One finished trial."""

    trial: Trial
    stages: Mapping[str, Mapping[str, Any]]
    """Rows of its summary, by stage, as measured on held-out problems at the stage's end."""
    steps: tuple[Step, ...]
    right: Mapping[tuple[str, bool], float]
    """Share of right rollouts, by stage and by whether a call had failed, among those that the run shows."""

    def at_end(self, stage: str, metric: str) -> float | None:
        """A metric of training, averaged over the last steps of a stage; None where none has it."""
        return _mean(self._of_stage(stage)[-WINDOW_STEPS:], metric)

    def through(self, stage: str, metric: str) -> float | None:
        """A metric of training, averaged over all steps of a stage; None where none has it."""
        return _mean(self._of_stage(stage), metric)

    def _of_stage(self, stage: str) -> list[Step]:
        return [step for step in self.steps if step.stage == stage]

    def within(self, generated_tokens: int, metric: str) -> float | None:
        """A metric averaged over the last steps that ended within so many tokens.

        None where the trial generated fewer, or more in its first step: neither has been at that point.
        """
        values = [s.values[metric] for s in self.steps if s.generated_tokens <= generated_tokens]
        if not values or self.generated_tokens < generated_tokens:
            return None
        return fmean(values[-WINDOW_STEPS:])

    @property
    def generated_tokens(self) -> int:
        return self.steps[-1].generated_tokens

    @property
    def wall_s(self) -> float:
        return sum(float(row["wall_s"]) for row in self.stages.values())


def _mean(steps: Iterable[Step], metric: str) -> float | None:
    values = [value for step in steps if (value := step.value(metric)) is not None]
    return fmean(values) if values else None


def read_outcome(trial: Trial, root: Path) -> Outcome:
    """From the folder of a finished trial."""
    folder = trial.folder(root)
    try:
        rows = json.loads((folder / "summary.json").read_text())["stages"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"'{folder}' holds no finished run: run `rstar2 reproduce` again") from error
    records = [r for r in JsonLines(folder / "metrics.jsonl") if r["phase"] not in _SUPERVISED]
    if not records:
        raise DataError(f"'{folder}' has no RL steps: give a config with stages")
    totals = accumulate(int(record["engine_decode_tokens"]) for record in records)
    return Outcome(
        trial=trial,
        stages={row["name"]: row for row in rows if row["name"] not in _SUPERVISED},
        steps=tuple(
            Step(stage=str(record["phase"]), generated_tokens=total, values=_numbers(record))
            for record, total in zip(records, totals, strict=True)
        ),
        right=_right(JsonLines(folder / "rollouts.jsonl")),
    )


def _right(shown: Iterable[Record]) -> dict[tuple[str, bool], float]:
    rewards = defaultdict(list)
    for rollout in shown:
        rewards[rollout["phase"], has_failed_call(rollout)].append(float(rollout["reward"]))
    return {kind: fmean(values) for kind, values in rewards.items()}


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float)}


def common_budget(outcomes: Sequence[Outcome]) -> int:
    """Tokens that each of these trials generated: up to there, others can be compared at equal cost."""
    return min(outcome.generated_tokens for outcome in outcomes)
