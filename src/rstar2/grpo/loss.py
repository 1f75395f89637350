"""The two objectives, on the packed target tokens of one micro-batch (shape T).

A target is a token that the model wrote. Both losses are sums divided by ONE denominator that the caller
counted over the whole optimizer step, so the gradient does not depend on how the step was cut into
micro-batches. There is no KL term, no entropy term and no dual clip.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""exp of it is still finite in every float type; the released code clamps at the same number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLoss:
    """A loss to call `backward` on, and what it says of the tokens."""

    loss: Tensor
    """Scalar with gradient: this micro-batch's share of the step's loss."""
    shares: dict[str, Tensor] = field(default_factory=dict)
    """Detached scalars divided by the step's denominator: over micro-batches they add up to token means."""
    peaks: dict[str, Tensor] = field(default_factory=dict)
    """Detached scalars of which the step's value is the maximum over micro-batches."""


def policy_loss(
    logprobs_T: Tensor,
    old_logprobs_T: Tensor,
    sampled_logprobs_T: Tensor,
    advantages_T: Tensor,
    *,
    denominator: int,
    clip_low: float,
    clip_high: float,
    importance_cap: float | None = None,
) -> TokenLoss:
    """Clip-higher policy-gradient loss (Eq. 6, arXiv:2508.20722), negated to be minimised.

        rho = exp(logp - logp_old),  loss = -(1/denominator) sum_t w_t min(rho A, clip(rho, 1-low, 1+high) A)

    The old policy is the caller's choice: the one before the first update of a rollout batch. In that update
    it is the current one, so `old = logprobs.detach()`: rho is exactly 1 and the gradient is REINFORCE's.

    w_t is 1, or with `importance_cap` the truncated importance weight min(exp(logp_old - logp_sampled), cap),
    a constant that corrects for tokens drawn from another policy than the old one: as the engine computes it,
    or as it was some versions ago. That is the decoupled objective of arXiv:2110.00641, whose proximal policy
    is our old one: the clip bounds the step, the weight corrects for who sampled. Eq. 6 normalises per group;
    one denominator for the step weighs every token alike instead.
    """
    old_T, sampled_T = old_logprobs_T.detach(), sampled_logprobs_T.detach()
    ratio_T = _ratio(logprobs_T, old_T)
    clipped_T = ratio_T.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain_T = torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)
    capped_shares = {}
    if importance_cap is not None:
        weight_T = _ratio(old_T, sampled_T)
        gain_T = gain_T * weight_T.clamp(max=importance_cap)
        capped_shares["capped_fraction"] = (weight_T > importance_cap).sum() / denominator
    is_clipped_T = clipped_T * advantages_T < ratio_T * advantages_T  # where the clip took the gradient away
    mismatch_T = (logprobs_T.detach() - sampled_T).abs()
    return TokenLoss(
        loss=-gain_T.sum() / denominator,
        shares={
            "ratio": ratio_T.detach().sum() / denominator,
            "clip_fraction": is_clipped_T.sum() / denominator,
            "mismatch": mismatch_T.sum() / denominator,
            "mismatch_kl": _k3(logprobs_T.detach(), sampled_T).sum() / denominator,
            **capped_shares,
        },
        peaks={"mismatch_max": mismatch_T.max()},
    )


def likelihood_loss(logprobs_T: Tensor, *, denominator: int) -> TokenLoss:
    """Mean negative log-likelihood of the target tokens, in nats."""
    return TokenLoss(loss=-logprobs_T.sum() / denominator)


def _ratio(logprobs_T: Tensor, base_logprobs_T: Tensor) -> Tensor:
    return (logprobs_T - base_logprobs_T).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def _k3(logprobs_T: Tensor, sampled_logprobs_T: Tensor) -> Tensor:
    """Per-token estimate of KL(sampler || learner): r - 1 - log r >= 0, r = p_learner / p_sampler."""
    log_ratio_T = (logprobs_T - sampled_logprobs_T).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio_T.exp() - 1.0 - log_ratio_T
