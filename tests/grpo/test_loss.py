import math

import pytest
import torch
from torch import Tensor

from rstar2.grpo.loss import TokenLoss, likelihood_loss, policy_loss

LOW, HIGH = 0.2, 0.28


def loss_of(
    ratios: list[float], advantages: list[float], *, cap: float | None = None
) -> tuple[TokenLoss, Tensor]:
    """With old log-prob log(1/2) for every token, sampled as the old policy would."""
    old = torch.full((len(ratios),), math.log(0.5))
    logprobs = (old + torch.tensor(ratios).log()).requires_grad_()
    terms = policy_loss(
        logprobs,
        old,
        old,
        torch.tensor(advantages),
        denominator=len(ratios),
        clip_low=LOW,
        clip_high=HIGH,
        importance_cap=cap,
    )
    return terms, logprobs


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "has_gradient"),
    [
        (1.1, 2.0, 2.2, True),
        (1.5, 2.0, 2.56, False),  # a rise is held at 1 + 0.28
        (0.5, 2.0, 1.0, True),  # a fall of a good token is never clipped
        (0.5, -2.0, -1.6, False),  # a fall of a bad token is held at 1 - 0.2
        (1.5, -2.0, -3.0, True),  # a rise of a bad token is never clipped
    ],
)
def test_clip_higher_by_hand(ratio: float, advantage: float, gain: float, has_gradient: bool) -> None:
    terms, logprobs = loss_of([ratio], [advantage])
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(-gain, rel=1e-5)
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(-ratio * advantage if has_gradient else 0.0, rel=1e-5)
    assert terms.shares["clip_fraction"].item() == (not has_gradient)


def test_at_ratio_one_the_gradient_is_that_of_reinforce() -> None:
    advantages = [1.5, -0.5, 0.25]
    terms, logprobs = loss_of([1.0, 1.0, 1.0], advantages)
    terms.loss.backward()
    reinforce = -torch.tensor(advantages) / 3
    torch.testing.assert_close(logprobs.grad, reinforce)
    assert terms.shares["ratio"].item() == 1.0


def test_a_wild_log_ratio_stays_finite() -> None:
    logprobs = torch.tensor([0.0, -1000.0], requires_grad=True)
    old = torch.tensor([-1000.0, 0.0])
    terms = policy_loss(
        logprobs, old, old, torch.tensor([-1.0, 1.0]), denominator=2, clip_low=LOW, clip_high=HIGH
    )
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx((math.exp(20) - math.exp(-20)) / 2, rel=1e-5)
    assert logprobs.grad is not None
    assert torch.isfinite(logprobs.grad).all()


def test_importance_weights_scale_tokens_are_capped_and_carry_no_gradient() -> None:
    """Old over sampler is 1/4 and 8, capped at 2; the ratio to the old policy is 1."""
    logprobs = torch.tensor([math.log(0.125), math.log(0.8)], requires_grad=True)
    sampled = torch.tensor([math.log(0.5), math.log(0.1)])
    advantages = torch.tensor([1.0, 3.0])
    terms = policy_loss(
        logprobs, logprobs.detach(), sampled, advantages,
        denominator=2, clip_low=LOW, clip_high=HIGH, importance_cap=2.0,
    )  # fmt: skip
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(-(0.25 * 1.0 + 2.0 * 3.0) / 2)
    torch.testing.assert_close(logprobs.grad, torch.tensor([-0.125, -3.0]))
    assert terms.shares["capped_fraction"].item() == 0.5


def test_clip_and_importance_weight_are_decoupled() -> None:
    """A later update of a batch, two tokens. Now / old / sampler:

    0.6 / 0.4 / 0.8, good: the clip sees 1.5 and holds it at 1.28, the weight is 0.5
    0.3 / 0.5 / 0.1, bad:  the clip sees 0.6 and holds it at 0.8, the weight is 5, capped at 2
    """
    logprobs = torch.tensor([0.6, 0.3]).log()
    old, sampled = torch.tensor([0.4, 0.5]).log(), torch.tensor([0.8, 0.1]).log()
    terms = policy_loss(
        logprobs, old, sampled, torch.tensor([1.0, -1.0]),
        denominator=2, clip_low=LOW, clip_high=HIGH, importance_cap=2.0,
    )  # fmt: skip
    assert terms.loss.item() == pytest.approx(-(0.5 * 1.28 - 2.0 * 0.8) / 2)
    assert terms.shares["clip_fraction"].item() == 1.0
    assert terms.shares["capped_fraction"].item() == 0.5


def test_mismatch_compares_the_learner_with_the_sampler() -> None:
    logprobs, sampled = (
        torch.tensor([math.log(0.5), math.log(0.4)]),
        torch.tensor([math.log(0.25), math.log(0.4)]),
    )
    terms = policy_loss(
        logprobs, logprobs, sampled, torch.ones(2), denominator=2, clip_low=LOW, clip_high=HIGH
    )
    assert terms.shares["mismatch"].item() == pytest.approx(math.log(2) / 2)
    assert terms.peaks["mismatch_max"].item() == pytest.approx(math.log(2))
    assert terms.shares["mismatch_kl"].item() == pytest.approx((2 - 1 - math.log(2)) / 2)


def test_likelihood_is_the_mean_negative_log_probability() -> None:
    terms = likelihood_loss(torch.tensor([math.log(0.5), math.log(0.125)]), denominator=2)
    assert terms.loss.item() == pytest.approx(2 * math.log(2))


def test_parts_of_a_step_add_up_to_the_whole() -> None:
    whole, _ = loss_of([0.5, 1.1, 1.7], [1.0, -1.0, 2.0])
    parts = [loss_of([r], [a])[0] for r, a in [(0.5, 1.0), (1.1, -1.0), (1.7, 2.0)]]
    assert whole.loss.item() == pytest.approx(sum(p.loss.item() for p in parts) / 3)
