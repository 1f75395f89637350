from dataclasses import dataclass

import pytest

from rstar2.evaluation.behaviour.ratios import change, ratio


@dataclass(frozen=True)
class Counted:
    problem_id: str
    over: float
    under: float


def over(counted: Counted) -> float:
    return counted.over


def under(counted: Counted) -> float:
    return counted.under


def many(share: float, *, num_problems: int = 400, num_rollouts: int = 1) -> list[Counted]:
    """Problems that are all or nothing."""
    return [
        Counted(f"{p}", 1.0 if p < share * num_problems else 0.0, 1.0)
        for p in range(num_problems)
        for _ in range(num_rollouts)
    ]


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios():
    assert ratio([Counted("a", 1, 1), Counted("b", 0, 3)], over, under, seed=0).value == 1 / 4


def test_nothing_under_the_bar_is_no_ratio():
    assert ratio([Counted("a", 0, 0)], over, under, seed=0) is None
    assert ratio([], over, under, seed=0) is None
    assert change([Counted("a", 1, 1)], [Counted("b", 1, 1)], over, under, seed=0) is None


def test_the_interval_of_a_share_is_that_of_the_normal_law_and_has_the_width_of_its_problems():
    # 1.96 * sqrt(0.3 * 0.7 / 400) = 0.045, however many rollouts each problem has.
    for num_rollouts in (1, 5):
        found = ratio(many(0.3, num_rollouts=num_rollouts), over, under, seed=0)
        assert found.value == pytest.approx(0.3)
        assert (found.low, found.high) == (pytest.approx(0.255, abs=0.006), pytest.approx(0.345, abs=0.006))


def test_a_change_is_paired_by_problem():
    before, after = many(0.3), many(0.5)
    found = change(before, after, over, under, seed=0)
    assert found.value == pytest.approx(0.2)
    # 80 of 400 problems grew by 1: 1.96 * sqrt(0.2 * 0.8 / 400) = 0.039
    assert (found.low, found.high) == (pytest.approx(0.161, abs=0.006), pytest.approx(0.239, abs=0.006))
    assert change(before, [*after, Counted("new", 9, 1)], over, under, seed=0) == found


def test_the_same_seed_gives_the_same_interval():
    assert ratio(many(0.3), over, under, seed=1) == ratio(many(0.3), over, under, seed=1)
    assert ratio(many(0.3), over, under, seed=1) != ratio(many(0.3), over, under, seed=2)
