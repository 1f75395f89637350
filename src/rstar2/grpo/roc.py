"""Resample-on-Correct (Section 2.2.3, arXiv:2508.20722): which G of a problem's 2G rollouts are learned from.

Negatives are kept uniformly at random, so the policy sees every way to fail. Positives are kept by how
cleanly they got there: few tool errors, one answer block. The outcome reward stays the only reward; quality
acts through selection alone. Pure: everything random comes from the given generator, and the result depends
on the set of rollouts, not on their order.

Readings of the paper, where it and the released code differ:

    weighted   positives without replacement, probability proportional to 1 / (p_err + p_format + epsilon);
               odd halves go to the positives (the paper: floor(neg / 2) negatives)
    topk       positives of lowest penalty, ties at random; odd halves round to even (the release's quotas)
    random     G of 2G uniformly: the ablation that isolates resampling from oversampling

Penalties come from recorded statuses and counts; the release searches the text for "error".
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rstar2.types import GradedRollout, Group, Rollout

Mode = Literal["weighted", "topk", "random"]


def error_penalty(rollout: Rollout) -> float:
    """p_err: share of tool calls that failed; 0.5 without calls, neither clean nor dirty. In [0, 1]."""
    statuses = rollout.call_statuses
    return rollout.num_tool_errors / len(statuses) if statuses else 0.5


def format_penalty(rollout: Rollout) -> float:
    """p_format: 1 without a closed answer block, else min(1, (answers - 1) / turns). In [0, 1].

    All assistant turns count; the released code misses the first one.
    """
    if rollout.num_answers == 0:
        return 1.0
    return min(1.0, (rollout.num_answers - 1) / len(rollout.turns))


def resample(
    group: Group,
    *,
    size: int,
    mode: Mode,
    rng: random.Random,
    epsilon: float = 0.1,
    min_each: int = 2,
    use_error_penalty: bool = True,
    use_format_penalty: bool = True,
) -> Group:
    """The group with `size` of its rollouts, in index order; all of them if no more than `size` are left.

    `epsilon` keeps the weight of a flawless rollout finite. Degenerate groups are resampled like any other;
    whether to learn from them is the caller's decision.
    """
    rollouts = sorted(group.rollouts, key=lambda graded: graded.rollout.index)
    if len(rollouts) <= size:
        return replace(group, rollouts=tuple(rollouts))
    if mode == "random":
        kept = rng.sample(rollouts, size)
    else:
        negatives = [r for r in rollouts if r.reward <= 0.0]
        positives = [r for r in rollouts if r.reward > 0.0]
        num_negatives, num_positives = quotas(
            len(negatives), len(positives), size=size, min_each=min_each, half_to_even=mode == "topk"
        )
        penalties = [
            use_error_penalty * error_penalty(r.rollout) + use_format_penalty * format_penalty(r.rollout)
            for r in positives
        ]
        choose = _lowest if mode == "topk" else _weighted_draw
        kept = rng.sample(negatives, num_negatives)
        kept += choose(positives, [p + epsilon for p in penalties], num_positives, rng)
    kept.sort(key=lambda graded: graded.rollout.index)
    return replace(group, rollouts=tuple(kept))


def quotas(
    num_negatives: int, num_positives: int, *, size: int, min_each: int, half_to_even: bool
) -> tuple[int, int]:
    """How many negatives and positives to keep: in proportion, by largest remainder, exactly `size` in total.

    At least `min_each` of a sign are kept where so many exist (and `size` has room for both). An exact half
    goes to the positives, or with `half_to_even` as Python's round() would send it, which is what the release
    does.
    """
    total = num_negatives + num_positives
    assert size <= total
    kept, remainder = divmod(size * num_negatives, total)
    is_half = 2 * remainder == total
    kept += 2 * remainder > total or (is_half and half_to_even and kept % 2 == 1)
    min_each = min(min_each, size // 2)
    lowest = max(min(min_each, num_negatives), size - num_positives)
    highest = min(num_negatives, size - min(min_each, num_positives))
    kept = min(max(kept, lowest), highest)
    return kept, size - kept


def _lowest(
    rollouts: Sequence[GradedRollout], penalties: Sequence[float], count: int, rng: random.Random
) -> list[GradedRollout]:
    keys = [(penalty, rng.random()) for penalty in penalties]
    return [rollouts[i] for i in sorted(range(len(rollouts)), key=keys.__getitem__)[:count]]


def _weighted_draw(
    rollouts: Sequence[GradedRollout], penalties: Sequence[float], count: int, rng: random.Random
) -> list[GradedRollout]:
    """Without replacement, each draw with probability proportional to 1 / penalty among those left.

    An exponential race: the first `count` arrivals of clocks that tick at rate 1 / penalty are such a draw.
    """
    arrivals = [rng.expovariate(1.0 / penalty) for penalty in penalties]
    return [rollouts[i] for i in sorted(range(len(rollouts)), key=arrivals.__getitem__)[:count]]
