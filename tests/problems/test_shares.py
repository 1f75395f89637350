"""A share of a data set is fair, the same again, and no head of a file."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.problems.shares import fair_share
from rstar2.types import Problem


def of_tasks(*sizes: int) -> list[Problem]:
    """As many of each task, one task after the other."""
    return [
        Problem(id=f"{task}-{i}", question=f"{task}-{i}?", answer="1", task=str(task))
        for task, size in enumerate(sizes)
        for i in range(size)
    ]


def test_small_sources_are_not_cut_away_by_large_ones_before_them() -> None:
    share = fair_share(of_tasks(500, 30), 200, seed=0)
    assert Counter(p.task for p in share) == {"0": 189, "1": 11}  # 200 * 500 / 530 = 188.7


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.data())
def test_every_task_has_its_share_rounded(sizes: list[int], data: st.DataObject) -> None:
    total = sum(sizes)
    size = data.draw(st.integers(0, total))
    share = fair_share(of_tasks(*sizes), size, seed=0)
    assert len(set(share)) == len(share) == size
    counts = Counter(p.task for p in share)
    for task, number in enumerate(sizes):
        assert counts[str(task)] == pytest.approx(size * number / total, abs=1)


def test_the_order_stays_and_larger_shares_hold_smaller_ones() -> None:
    problems = of_tasks(40, 20)
    small, large = (fair_share(problems, size, seed=3) for size in (10, 30))
    assert [p for p in problems if p in large] == list(large)
    assert set(small) < set(large)
    assert set(fair_share(problems[::-1], 30, seed=3)) == set(large), "whatever the order of the rows"


def test_the_share_is_spread_over_the_source_and_changes_with_the_seed() -> None:
    problems = of_tasks(100)
    share = fair_share(problems, 50, seed=0)
    assert 10 < sum(p in problems[:50] for p in share) < 40
    assert fair_share(problems, 50, seed=1) != share == fair_share(problems, 50, seed=0)
