import pytest

from rstar2.errors import InputError
from rstar2.evaluation.pass_at_k import wilson
from rstar2.evaluation.scorecard import checked_ks, default_ks, pass_at_ks
from rstar2.types import Ending, GradedRollout, Group, Problem, Rollout


def group(*rewards: float) -> Group:
    rollout = Rollout(
        problem_id="p",
        index=0,
        segments=(),
        turns=(),
        ending=Ending.FINISHED,
        answer=None,
        num_answers=0,
    )
    problem = Problem(id="p", question="q", answer="1")
    return Group(problem=problem, rollouts=tuple(GradedRollout(rollout=rollout, reward=r) for r in rewards))


@pytest.mark.parametrize(("num_rollouts", "ks"), [(1, (1,)), (7, (1, 2, 4)), (8, (1, 2, 4, 8))])
def test_k_doubles_up_to_the_number_of_rollouts(num_rollouts, ks):
    assert default_ks(num_rollouts) == ks
    assert checked_ks((), num_rollouts) == ks


def test_given_k_are_sorted_and_single():
    assert checked_ks((4, 1, 4), 4) == (1, 4)


@pytest.mark.parametrize("k", [0, 5])
def test_a_k_that_the_rollouts_cannot_give_is_refused(k):
    with pytest.raises(InputError, match="from 1 to the number of rollouts"):
        checked_ks((k,), 4)


def test_pass_at_k_by_hand():
    estimates = pass_at_ks([group(1, 0, 0, 0), group(1, 1, 0, 0)], (1, 2), seed=0)
    assert estimates[1].value == pytest.approx((1 / 4 + 2 / 4) / 2)
    # 1 - C(3,2)/C(4,2) = 1/2 and 1 - C(2,2)/C(4,2) = 5/6
    assert estimates[2].value == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert estimates[2].low >= 1 / 2 - 1e-9
    assert estimates[2].high <= 5 / 6 + 1e-9


def test_scores_of_zero_and_one_have_an_interval_that_is_not_a_point():
    estimate = pass_at_ks([group(0.0, 0.0)] * 10, (1,), seed=0)[1]
    assert estimate == wilson(0, 10)
    assert estimate.high > 0.2


def test_problems_that_lost_rollouts_count_only_for_small_k():
    estimates = pass_at_ks([group(1, 1), group(0)], (1, 2), seed=0)
    assert estimates[1].value == 0.5
    assert estimates[2].value == 1.0


def test_a_k_of_which_every_problem_lost_a_rollout_is_left_out():
    assert pass_at_ks([group(1), group(0)], (1, 2), seed=0).keys() == {1}
