"""Sums over micro-batches and ranks, by hand."""

import math

import pytest
import torch

from rstar2.grpo.loss import TokenLoss
from rstar2.learner.tally import Tally, total


def tally(*, loss: float, peak: float, num_packed_tokens: int) -> Tally:
    terms = TokenLoss(
        loss=torch.tensor(loss),
        shares={"ratio": torch.tensor(0.25)},
        peaks={"mismatch_max": torch.tensor(peak)},
    )
    result = Tally()
    result.add(terms, torch.tensor([1.0, 2.0]), num_packed_tokens=num_packed_tokens, denominator=6)
    return result


def test_shares_add_up_and_peaks_do_not() -> None:
    metrics = total(
        [tally(loss=0.5, peak=3.0, num_packed_tokens=30), tally(loss=0.25, peak=2.0, num_packed_tokens=10)]
    )
    assert metrics == pytest.approx(
        {
            "loss": 0.75,
            "entropy_nats": 2 * 3.0 / 6,
            "ratio": 0.5,
            "mismatch_max": 3.0,
            "num_packed_tokens": 40,
            "rank_imbalance": 30 / 20,
        }
    )


def test_a_rank_without_work_counts_as_idle() -> None:
    metrics = total([tally(loss=0.5, peak=3.0, num_packed_tokens=30), Tally()])
    assert (metrics["loss"], metrics["ratio"], metrics["rank_imbalance"]) == (0.5, 0.25, 2.0)


@pytest.mark.parametrize("peaks", [(math.nan, 3.0), (3.0, math.nan)])
def test_a_peak_that_is_no_number_stays_in_sight(peaks: tuple[float, float]) -> None:
    ranks = [tally(loss=0.5, peak=peak, num_packed_tokens=30) for peak in peaks]
    assert math.isnan(total(ranks)["mismatch_max"])
