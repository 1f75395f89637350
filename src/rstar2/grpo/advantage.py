"""From a kept group to train samples: group-relative advantages (Eq. 7, arXiv:2508.20722).

Mean and standard deviation are those of the rollouts that were kept, not of all that were sampled. A
degenerate group yields nothing: there is no advantage in it, and its tokens do not enter the loss's
denominator.
"""

from statistics import fmean, stdev

from rstar2.types import Group, Rollout, Source, TrainSample

STD_EPSILON = 1e-6


def advantages(rewards: tuple[float, ...]) -> tuple[float, ...]:
    """(r - mean) / (std + 1e-6), std unbiased; they sum to 0. Needs two or more rewards."""
    mean, std = fmean(rewards), stdev(rewards)
    return tuple((reward - mean) / (std + STD_EPSILON) for reward in rewards)


def samples(group: Group) -> tuple[TrainSample, ...]:
    """One sample per rollout, its tokens exactly those of the rollout; none from a degenerate group."""
    if group.is_degenerate:
        return ()
    values = advantages(group.rewards)
    return tuple(_sample(graded.rollout, value) for graded, value in zip(group.rollouts, values, strict=True))


def _sample(rollout: Rollout, advantage: float) -> TrainSample:
    """Only what the model wrote is a target: neither the prompt nor tool responses."""
    prompt, *_ = rollout.segments
    assert prompt.source is Source.PROMPT
    return TrainSample(
        token_ids=rollout.token_ids,
        loss_mask=tuple(s.source is Source.MODEL for s in rollout.segments for _ in s.token_ids),
        logprobs=tuple(p for s in rollout.segments for p in s.logprobs or (0.0,) * len(s.token_ids)),
        advantage=advantage,
        prompt_length=len(prompt.token_ids),
        group_id=rollout.problem_id,
    )
