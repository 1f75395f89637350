import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.grpo.advantage import advantages, samples
from rstar2.types import Ending, GradedRollout, Group, Problem, Rollout, Segment, Source


def graded(reward: float, index: int = 0) -> GradedRollout:
    segments = (
        Segment(source=Source.PROMPT, token_ids=(11, 12, 13)),
        Segment(source=Source.MODEL, token_ids=(21, 22), logprobs=(-0.5, -0.25), version=0),
        Segment(source=Source.ENVIRONMENT, token_ids=(31,)),
        Segment(source=Source.MODEL, token_ids=(41,), logprobs=(-2.0,), version=0),
    )
    rollout = Rollout(
        problem_id="p",
        index=index,
        segments=segments,
        turns=(),
        ending=Ending.FINISHED,
        answer=None,
        num_answers=0,
    )
    return GradedRollout(rollout=rollout, reward=reward)


def group(*rewards: float) -> Group:
    problem = Problem(id="p", question="?", answer="1")
    return Group(problem=problem, rollouts=tuple(graded(r, i) for i, r in enumerate(rewards)))


def test_advantages_of_one_success_in_four() -> None:
    """Mean 1/4; unbiased variance (9/16 + 3/16) / 3 = 1/4, so std 1/2."""
    assert advantages((1.0, 0.0, 0.0, 0.0)) == pytest.approx((1.5, -0.5, -0.5, -0.5), abs=1e-5)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=37))
def test_advantages_sum_to_zero(rewards: list[float]) -> None:
    assert sum(advantages(tuple(rewards))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rewards", [(), (1.0,), (0.0, 0.0), (1.0, 1.0, 1.0)])
def test_a_degenerate_group_has_nothing_to_teach(rewards: tuple[float, ...]) -> None:
    assert samples(group(*rewards)) == ()


def test_a_sample_has_the_tokens_of_its_rollout_and_trains_only_what_the_model_wrote() -> None:
    sample, other = samples(group(1.0, 0.0))
    assert sample.token_ids == (11, 12, 13, 21, 22, 31, 41)
    assert sample.loss_mask == (False, False, False, True, True, False, True)
    assert sample.logprobs == (0.0, 0.0, 0.0, -0.5, -0.25, 0.0, -2.0)
    assert (sample.prompt_length, sample.group_id) == (3, "p")
    assert sample.advantage == pytest.approx(-other.advantage)
    assert sample.advantage == pytest.approx(0.5**0.5, abs=1e-5)
