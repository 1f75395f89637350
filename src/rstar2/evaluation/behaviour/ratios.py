"""Ratios of sums over rollouts, with intervals: density, mean entropy, calls per right answer.

A ratio of sums weighs rollouts by what is counted in them. Rollouts of one problem are not independent,
problems are, so the bootstrap resamples problems with all their rollouts. An interval without width says no
more than that all problems agree.

Shape suffixes: P problems, C sums of one problem, R resamples.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rstar2.evaluation.pass_at_k import Estimate

_NUM_RESAMPLES = 2000
_BOUNDS = (0.025, 0.975)


class OfProblem(Protocol):
    """Anything counted in one rollout."""

    @property
    def problem_id(self) -> str: ...


T = TypeVar("T", bound=OfProblem)
Count = Callable[[T], float]


def ratio(rollouts: Sequence[T], over: Count[T], under: Count[T], *, seed: int) -> Estimate | None:
    """Sum of `over` by sum of `under` with its 95 % interval; None if there is nothing under the bar."""
    sums = _sums(rollouts, over, under)
    return _estimate(np.array(list(sums.values())).reshape(-1, 2), seed)


def change(
    before: Sequence[T], after: Sequence[T], over: Count[T], under: Count[T], *, seed: int
) -> Estimate | None:
    """How much the ratio grew, over the problems that both have; these are resampled as pairs."""
    sums, later = _sums(before, over, under), _sums(after, over, under)
    shared = sorted(sums.keys() & later.keys())
    return _estimate(np.array([(*sums[p], *later[p]) for p in shared]).reshape(-1, 4), seed)


def _sums(rollouts: Sequence[T], over: Count[T], under: Count[T]) -> dict[str, tuple[float, float]]:
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for rollout in rollouts:
        upper, lower = sums[rollout.problem_id]
        sums[rollout.problem_id] = (upper + over(rollout), lower + under(rollout))
    return sums


def _estimate(sums_PC: NDArray[np.float64], seed: int) -> Estimate | None:
    """Of one ratio (C = 2 columns) or of a later one less an earlier (C = 4), over P problems."""
    (value,) = _values(sums_PC.sum(axis=0, keepdims=True))
    if np.isnan(value):
        return None
    rng, num_problems = np.random.default_rng(seed), len(sums_PC)
    times_RP = rng.multinomial(num_problems, np.full(num_problems, 1 / num_problems), size=_NUM_RESAMPLES)
    draws_R = _values(times_RP @ sums_PC)
    low, high = np.nanquantile(draws_R, _BOUNDS)  # a draw without anything under the bar says nothing
    return Estimate(value=float(value), low=float(low), high=float(high))


def _values(sums_RC: NDArray[np.float64]) -> NDArray[np.float64]:
    """One per row; NaN where there is nothing under a bar."""
    over, under = sums_RC[:, ::2], sums_RC[:, 1::2]
    ratios = np.divide(over, under, out=np.full_like(over, np.nan), where=under != 0)
    values: NDArray[np.float64] = ratios[:, -1] - ratios[:, 0] if ratios.shape[1] > 1 else ratios[:, 0]
    return values
