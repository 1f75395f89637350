"""What is measured of an arm, and an arm beside the baseline, paired by seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit  # scipy.stats has it as t.ppf, and takes half a second to import

from rstar2.evaluation.pass_at_k import Estimate
from rstar2.reproduction.arms import BASELINE
from rstar2.reproduction.outcomes import WINDOW_STEPS, Outcome, common_budget

ByArm = Mapping[str, Sequence[Outcome]]
"""The finished trials of every arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One column of the tables."""

    key: str
    title: str
    meaning: str
    of: Callable[[Outcome], float | None]
    """None where there is nothing to measure."""
    is_share: bool = True

    def write(self, value: float, *, sign: str = "") -> str:
        if self.is_share:
            return f"{100 * value:{sign}.1f}"
        return f"{value:{sign}.0f}" if abs(value) >= 10 else f"{value:{sign}.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A measure of an arm over its seeds."""

    values: Mapping[int, float]
    """By seed, of those that have one."""

    @property
    def mean(self) -> float:
        return fmean(self.values.values())

    @property
    def std(self) -> float:
        """Of the sample, which must have two seeds."""
        return stdev(self.values.values())


def measures(outcomes: ByArm) -> tuple[Measure, ...]:
    """Those that make sense for these trials: stages by their names, equal cost by the cheapest trial."""
    first, last = first_and_last_stage(outcomes)
    budget = common_budget(outcomes[BASELINE])
    all_measures = (
        _held_out("pass_at_1", f"pass@1 after {first}, %", first),
        _held_out("pass_at_1", f"pass@1 after {last}, %", last),
        _held_out("tokens_per_rollout", f"tokens after {last}", last, is_share=False),
        Measure(
            key="reward_at_equal_tokens",
            title="reward at equal tokens, %",
            meaning=f"training reward once {budget:,} tokens were generated, all that the baseline did; "
            "empty where an arm ended with fewer, or began with a step of more",
            of=lambda outcome: outcome.within(budget, "reward"),
        ),
        _of_training("tool_error_rate_correct", "errors in right, %", first),
        Measure(
            key=f"tool_error_rate_correct_through_{first}",
            title=f"errors in right through {first}, %",
            meaning=f"the same, mean of all steps of {first} that have a right rollout and a call",
            of=lambda outcome: outcome.through(first, "tool_error_rate_correct"),
        ),
        _of_training("tool_error_rate", "errors, %", first),
        _right(first, has_failed=True),
        _right(first, has_failed=False),
        _of_training("tokens_per_rollout", f"tokens in {first}", first, is_share=False),
        _of_training("clip_ratio", "cut, %", first),
        _of_training("all_correct_share", "groups all right, %", first),
        Measure(
            key="generated_tokens",
            title="generated, thousands",
            meaning="tokens that the engines wrote in all RL steps, thousands",
            of=lambda outcome: outcome.generated_tokens / 1000,
            is_share=False,
        ),
        Measure(
            key="wall_minutes",
            title="minutes",
            meaning="wall time of the trial's RL stages, on one thread, beside others",
            of=lambda outcome: outcome.wall_s / 60,
            is_share=False,
        ),
    )
    return tuple({measure.key: measure for measure in all_measures}.values())


def first_and_last_stage(outcomes: ByArm) -> tuple[str, str]:
    """Their names; the same for every arm, and for a single stage."""
    stages = list(next(iter(outcomes.values()))[0].stages)
    return stages[0], stages[-1]


def cell(measure: Measure, outcomes: Sequence[Outcome]) -> Cell:
    values = {outcome.trial.seed: measure.of(outcome) for outcome in outcomes}
    return Cell(values={seed: value for seed, value in values.items() if value is not None})


def paired(arm: Cell, rival: Cell) -> tuple[Cell, Cell]:
    """Both, of the seeds that both have."""
    seeds = arm.values.keys() & rival.values.keys()
    mine, theirs = ({seed: c.values[seed] for seed in sorted(seeds)} for c in (arm, rival))
    return Cell(values=mine), Cell(values=theirs)


def difference(arm: Cell, baseline: Cell) -> Estimate:
    """Mean over the seeds that both have of arm minus baseline, with its 95 % interval over seeds."""
    pairs = zip(*(c.values.values() for c in paired(arm, baseline)), strict=True)
    return over_seeds([mine - theirs for mine, theirs in pairs])


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of one value per seed with Student's 95 % interval, mean +- t(0.975, n - 1) s / sqrt(n).

    Not by the bootstrap, which suits hundreds of problems: of five normal values its percentiles cover the
    true mean 83 % of the time where they say 95 %. Values that are all alike have an interval without
    width; one alone bounds nothing, and its interval is endless.
    """
    mean, num_seeds = fmean(values), len(values)
    if num_seeds == 1:
        return Estimate(value=mean, low=-math.inf, high=math.inf)
    radius = float(stdtrit(num_seeds - 1, 0.975)) * stdev(values) / math.sqrt(num_seeds)
    return Estimate(value=mean, low=mean - radius, high=mean + radius)


def _held_out(metric: str, title: str, stage: str, *, is_share: bool = True) -> Measure:
    return Measure(
        key=f"{metric}_after_{stage}",
        title=title,
        meaning=f"`{metric}` on held-out problems at the end of {stage}",
        of=lambda outcome: float(outcome.stages[stage][metric]),
        is_share=is_share,
    )


def _right(stage: str, *, has_failed: bool) -> Measure:
    kind = "after an error" if has_failed else "without error"
    return Measure(
        key=f"right_{kind.replace(' ', '_')}_{stage}",
        title=f"right {kind}, %",
        meaning=f"right rollouts {kind}, among training rollouts of all steps of {stage} in `rollouts.jsonl`",
        of=lambda outcome: outcome.right.get((stage, has_failed)),
    )


def _of_training(metric: str, title: str, stage: str, *, is_share: bool = True) -> Measure:
    meaning = (
        f"`{metric}` of training rollouts before resampling, mean of the last {WINDOW_STEPS} steps of {stage}"
    )
    return Measure(
        key=f"{metric}_{stage}",
        title=title,
        meaning=meaning,
        of=lambda outcome: outcome.at_end(stage, metric),
        is_share=is_share,
    )
