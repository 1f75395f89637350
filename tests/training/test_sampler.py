from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.errors import DataError
from rstar2.training.sampler import SamplerState, draw_problems
from rstar2.types import Problem


def problems(num: int) -> list[Problem]:
    return [Problem(id=f"p{i:02d}", question=f"q{i}", answer=str(i)) for i in range(num)]


@given(num=st.integers(1, 12), counts=st.lists(st.integers(0, 15), max_size=6), seed=st.integers(0, 99))
def test_every_problem_comes_once_per_epoch(num: int, counts: list[int], seed: int) -> None:
    state, drawn = SamplerState(), []
    for count in counts:
        some, state = draw_problems(problems(num), state, count=count, seed=seed)
        assert len(some) == count
        drawn += [problem.id for problem in some]
    num_whole = len(drawn) // num
    epochs = [drawn[start : start + num] for start in range(0, len(drawn), num)]
    assert all(max(Counter(epoch).values()) == 1 for epoch in epochs)
    assert state == SamplerState(epoch=num_whole, consumed=frozenset(drawn[num_whole * num :]))


@given(num=st.integers(1, 12), cut=st.integers(0, 20), rest=st.integers(0, 20), seed=st.integers(0, 99))
def test_going_on_from_a_state_is_the_same_as_never_stopping(
    num: int, cut: int, rest: int, seed: int
) -> None:
    whole, whole_state = draw_problems(problems(num), SamplerState(), count=cut + rest, seed=seed)
    first, state = draw_problems(problems(num), SamplerState(), count=cut, seed=seed)
    second, state = draw_problems(problems(num), state, count=rest, seed=seed)
    assert (first + second, state) == (whole, whole_state)


@given(cut=st.integers(0, 9), removed=st.sets(st.integers(0, 9), max_size=9))
def test_problems_that_were_removed_meanwhile_are_passed_over(cut: int, removed: set[int]) -> None:
    first, state = draw_problems(problems(10), SamplerState(), count=cut, seed=1)
    left = [problem for i, problem in enumerate(problems(10)) if i not in removed]
    due = {problem.id for problem in left} - {problem.id for problem in first}
    rest, state = draw_problems(left, state, count=len(due), seed=1)
    assert {problem.id for problem in rest} == due


def test_the_order_differs_by_epoch_and_by_seed_and_not_by_the_order_given() -> None:
    one, state = draw_problems(problems(12), SamplerState(), count=12, seed=0)
    two, _ = draw_problems(problems(12), state, count=12, seed=0)
    other, _ = draw_problems(problems(12), SamplerState(), count=12, seed=1)
    assert len({one, two, other}) == 3
    assert draw_problems(problems(12)[::-1], SamplerState(), count=12, seed=0)[0] == one


def test_no_problems_at_all_is_an_error_of_the_input() -> None:
    with pytest.raises(DataError, match="no problems to train on"):
        draw_problems([], SamplerState(), count=1, seed=0)
