"""pass@k of a set of graded groups for several k at once, each with its 95% interval."""

from collections.abc import Sequence

from rstar2.errors import InputError
from rstar2.evaluation.pass_at_k import Estimate, pass_at_k_estimates
from rstar2.types import Group


def default_ks(num_rollouts: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to the number of rollouts."""
    return tuple(1 << power for power in range(num_rollouts.bit_length()))


def checked_ks(ks: Sequence[int], num_rollouts: int) -> tuple[int, ...]:
    """The given k in order, or the default ones; InputError if the rollouts do not suffice for one."""
    if any(not 1 <= k <= num_rollouts for k in ks):
        raise InputError(f"k must be from 1 to the number of rollouts ({num_rollouts}): raise --rollouts")
    return tuple(sorted(set(ks))) or default_ks(num_rollouts)


def pass_at_ks(groups: Sequence[Group], ks: Sequence[int], *, seed: int) -> dict[int, Estimate]:
    """pass@k by k, over the problems that kept at least k rollouts; no k beyond what any of them kept."""
    return pass_at_k_estimates([group.rewards for group in groups], ks, seed=seed)
