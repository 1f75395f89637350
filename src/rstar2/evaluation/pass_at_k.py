"""How good, and how sure: pass@k, avg@k and their intervals. Pure numbers, no rollouts.

Attempts at one problem are not independent of each other, so intervals treat the problem as the unit:
every statistic is a mean of one score per problem, and the bootstrap resamples problems with all their
attempts. `_P` marks arrays over problems.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np

from rstar2.errors import DataError

_NUM_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def pass_at_k(num_attempts: int, num_correct: int, k: int) -> float:
    """Chance that at least one of k attempts, drawn without replacement from those made, is correct.

    1 - C(n - c, k) / C(n, k) (Eq. 1, arXiv:2107.03374): unbiased for the pass@k of k fresh attempts,
    unlike 1 - (1 - c/n)**k, which is too low.
    """
    assert 0 <= num_correct <= num_attempts
    if not 1 <= k <= num_attempts:
        raise DataError(f"pass@{k} needs at least {k} attempts and there are {num_attempts}; sample more")
    return 1.0 - math.comb(num_attempts - num_correct, k) / math.comb(num_attempts, k)


def pass_at_k_scores(rewards_P: Sequence[Sequence[float]], k: int) -> list[float]:
    """pass@k of every problem, given the rewards (1.0 or 0.0) of its attempts; their mean is pass@k."""
    return [pass_at_k(len(rewards), sum(r > 0 for r in rewards), k) for rewards in rewards_P]


def pass_at_k_estimates(
    rewards_P: Sequence[Sequence[float]], ks: Iterable[int], *, seed: int
) -> dict[int, Estimate]:
    """pass@k by k, each over the problems with at least k attempts; a k that none of them has is left out."""
    enough = {k: [rewards for rewards in rewards_P if len(rewards) >= k] for k in ks}
    return {k: mean_score(pass_at_k_scores(kept, k), seed=seed) for k, kept in enough.items() if kept}


def average_scores(rewards_P: Sequence[Sequence[float]]) -> list[float]:
    """Mean reward of every problem; their mean is avg@k for k attempts each, also called mean pass@1."""
    return [fmean(rewards) for rewards in rewards_P]


def bootstrap(
    scores_P: Sequence[float],
    *,
    seed: int,
    confidence: float = 0.95,
    num_resamples: int = _NUM_RESAMPLES,
) -> Estimate:
    """Mean of one score per problem, with the percentile interval of means of resampled problems."""
    scores = np.asarray(scores_P, dtype=np.float64)
    if scores.size == 0:
        raise DataError("no problem was evaluated; check the benchmark file and its filters")
    rng = np.random.default_rng(seed)
    means = [scores[rng.integers(scores.size, size=scores.size)].mean() for _ in range(num_resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=float(scores.mean()), low=float(low), high=float(high))


def mean_score(scores_P: Sequence[float], *, seed: int) -> Estimate:
    """Mean of one score per problem with its 95% interval, resampled over problems.

    Rollouts of one problem are not independent, problems are. Where each scores 0 or 1 the interval is
    Wilson's over problems: the bootstrap has no width when all are alike.
    """
    if set(scores_P) <= {0.0, 1.0}:
        return wilson(round(sum(scores_P)), len(scores_P))
    return bootstrap(scores_P, seed=seed)


def paired_difference(
    scores: Mapping[str, float], baseline_scores: Mapping[str, float], *, seed: int, confidence: float = 0.95
) -> Estimate:
    """Mean of `scores - baseline_scores` over problem ids, resampled by problem.

    Pairing takes out how hard the problems are, so the interval is tighter than that of two separate means.
    """
    unpaired = scores.keys() ^ baseline_scores.keys()
    if unpaired:
        raise DataError(
            f"{len(unpaired)} problems are in one run only, such as {min(unpaired)!r}; rerun both"
        )
    differences = [scores[problem] - baseline_scores[problem] for problem in sorted(scores)]
    return bootstrap(differences, seed=seed, confidence=confidence)


def wilson(num_successes: int, num_trials: int, *, confidence: float = 0.95) -> Estimate:
    """Share of successes with Wilson's score interval, for one independent attempt per problem.

    Honest at 0 and 1, where the bootstrap's interval has no width.
    """
    assert 0 <= num_successes <= num_trials
    if num_trials == 0:
        raise DataError("no problem was evaluated; check the benchmark file and its filters")
    return widest(num_successes / num_trials, num_trials, confidence=confidence)


def widest(mean: float, num_problems: int, *, confidence: float = 0.95) -> Estimate:
    """A mean of scores in [0, 1] with Wilson's interval for scores of 0 and 1: none can be spread wider.

    For means that others published without the scores behind them.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    shrink = 1 + z**2 / num_problems
    centre = (mean + z**2 / (2 * num_problems)) / shrink
    radius = z / shrink * math.sqrt(mean * (1 - mean) / num_problems + (z / (2 * num_problems)) ** 2)
    # At 0 and 1 a bound is the mean itself, but for rounding.
    low, high = max(0.0, centre - radius), min(1.0, centre + radius)
    return Estimate(value=mean, low=min(low, mean), high=max(high, mean))
