"""Intervals over a handful of seeds are as wide as so few call for: worked out by hand with tabled t."""

import math

import pytest

from rstar2.reproduction.contrasts import Cell, difference, over_seeds


def test_five_seeds_have_the_interval_of_t_with_four_degrees_of_freedom() -> None:
    found = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    radius = 2.776 * math.sqrt(2.5 / 5)  # s^2 = (4 + 1 + 0 + 1 + 4) / 4
    assert found.value == 3.0
    assert (found.low, found.high) == pytest.approx((3 - radius, 3 + radius), abs=1e-3)


def test_two_seeds_say_next_to_nothing() -> None:
    found = over_seeds([1.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3)


def test_one_seed_bounds_nothing() -> None:
    assert (over_seeds([0.5]).low, over_seeds([0.5]).high) == (-math.inf, math.inf)


def test_values_that_are_all_alike_have_an_interval_without_width() -> None:
    found = over_seeds([0.1] * 5)
    assert found.low == found.value == found.high


def test_a_difference_is_of_pairs_so_what_the_seeds_share_does_not_widen_it() -> None:
    arm = Cell(values={0: 0.30, 1: 0.50, 2: 0.90, 7: 0.0})
    baseline = Cell(values={2: 0.60, 1: 0.30, 0: 0.20, 8: 1.0})
    found = difference(arm, baseline)  # of 0.1, 0.2 and 0.3: s = 0.1, and t(0.975, 2) = 4.303
    assert found.value == pytest.approx(0.2)
    assert found.high - found.value == pytest.approx(4.303 * 0.1 / math.sqrt(3), abs=1e-4)
