"""Decisions about stages, all pure: learning rate, when to leave, which problems are not mastered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, cos, pi
from statistics import fmean

from rstar2.config import ExitRule, PretrainingSection, SftSection, StageSection
from rstar2.types import Group


def warmed_up(lr: float, *, step: int, warmup_steps: int) -> float:
    """Linear warm-up to a constant (paper 4.3): step 0 already moves a little."""
    return lr * min(1.0, (step + 1) / (warmup_steps + 1))


def cooled_down(lr: float, *, step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then linear decay to a twentieth: for pre-training and SFT of the tiny model."""
    left = max(0.05, 1.0 - step / steps)
    return warmed_up(lr, step=step, warmup_steps=warmup_steps) * left


def half_cosine(lr: float, *, step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine down to 0 (paper 4.1: SFT)."""
    done = max(0, step - warmup_steps) / max(1, steps - warmup_steps)
    return warmed_up(lr, step=step, warmup_steps=warmup_steps) * 0.5 * (1 + cos(pi * done))


def supervised_lr(section: PretrainingSection | SftSection, *, step: int, steps: int) -> float:
    """Of one step of a supervised phase."""
    if isinstance(section, PretrainingSection):
        return cooled_down(section.lr, step=step, steps=steps, warmup_steps=section.warmup_steps)
    warmup_steps = round(section.warmup_share * steps) if section.warmup_share else section.warmup_steps
    decayed = half_cosine if section.decay == "cosine" else cooled_down
    return decayed(section.lr, step=step, steps=steps, warmup_steps=warmup_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What the exit rules look at."""

    reward: float
    """Mean over all graded rollouts, before any are dropped."""
    all_correct_share: float
    """Of groups."""


def reason_to_leave(rule: ExitRule, history: Sequence[StepOutcome]) -> str | None:
    """Why the stage should end now, or None. `history` is this stage's, oldest first."""
    if len(history) < rule.window_steps:
        return None
    recent = history[-rule.window_steps :]
    share = fmean(outcome.all_correct_share for outcome in recent)
    if share > rule.all_correct_share:
        return f"{share:.0%} of groups are all correct"
    before = history[: -rule.plateau_steps] if rule.plateau_steps else []
    if len(before) >= rule.window_steps:
        best = max(fmean(o.reward for o in before[i : i + rule.window_steps]) for i in _windows(before, rule))
        now = fmean(outcome.reward for outcome in recent)
        if now <= best:
            return f"the reward has not risen in {rule.plateau_steps} steps"
    return None


def _windows(history: Sequence[StepOutcome], rule: ExitRule) -> range:
    return range(len(history) - rule.window_steps + 1)


def probe_size(stage: StageSection, *, min_rollouts: int) -> int:
    """Problems tried for mastery at a time: as many rollouts as a step plays, and at least `min_rollouts`."""
    num_rollouts = max(stage.problems_per_step * stage.oversample, min_rollouts)
    return ceil(num_rollouts / stage.mastery_rollouts)


def unmastered(groups: Iterable[Group]) -> tuple[str, ...]:
    """Ids of problems that were not solved in every attempt (paper 4.3: 8 of 8 are dropped).

    Never-solved problems stay. So do those that lost an attempt to infrastructure: it was not a right one.
    """
    return tuple(g.problem.id for g in groups if g.num_dropped or min(g.rewards) < 1.0)
