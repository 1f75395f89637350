import pytest

from rstar2.evaluation.attempts import Attempt, benchmark_score
from rstar2.types import Ending, ToolStatus


def attempt(reward: float, *statuses: ToolStatus, num_tokens: int = 10, is_cut: bool = False) -> Attempt:
    return Attempt(reward=reward, statuses=statuses, num_tokens=num_tokens, is_cut=is_cut)


OK, FAILED, MALFORMED = ToolStatus.OK, ToolStatus.EXCEPTION, ToolStatus.MALFORMED
ATTEMPTS = [
    [attempt(1.0, FAILED, OK), attempt(0.0, MALFORMED), attempt(1.0, OK, num_tokens=40)],
    [attempt(0.0, is_cut=True), attempt(0.0), attempt(1.0, FAILED, FAILED)],
    [],
]


def test_a_score_by_hand():
    score = benchmark_score(ATTEMPTS, (1, 2), seed=0)
    assert score.average.value == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert score.average.low <= score.average.value <= score.average.high
    assert score.pass_at_k[1].value == pytest.approx(1 / 2)
    # 1 - C(1,2)/C(3,2) = 1 and 1 - C(2,2)/C(3,2) = 2/3
    assert score.pass_at_k[2].value == pytest.approx((1 + 2 / 3) / 2)
    assert score.tokens.value == pytest.approx((60 / 3 + 30 / 3) / 2)
    assert score.calls == pytest.approx(6 / 6)
    assert score.tool_error_rate == pytest.approx(4 / 6)
    assert score.recovery_rate == pytest.approx(2 / 3)
    assert score.cut_rate == pytest.approx(1 / 6)
    assert (score.num_problems, score.num_attempts) == (2, 6)


def test_one_lost_rollout_of_every_problem_costs_no_more_than_the_largest_k():
    score = benchmark_score([[attempt(1.0)] * 7, [attempt(0.0)] * 7], (1, 8), seed=0)
    assert score.pass_at_k.keys() == {1}
    assert score.average.value == 0.5


def test_without_failed_calls_there_is_nothing_to_recover_from():
    assert benchmark_score([[attempt(1.0, OK)]], (1,), seed=0).recovery_rate is None
    assert benchmark_score([[attempt(0.0, FAILED)]], (1,), seed=0).recovery_rate == 0.0


def test_an_output_that_was_cut_is_no_failed_call():
    assert attempt(1.0, ToolStatus.OUTPUT_LIMIT, FAILED).num_errors == 1


def test_an_attempt_is_read_from_its_transcript():
    record = {"reward": 1.0, "statuses": ["ok", "time_limit"], "tokens": 7, "ending": "token_limit"}
    assert Attempt.of(record) == attempt(1.0, OK, ToolStatus.TIME_LIMIT, num_tokens=7, is_cut=True)
    assert not Attempt.of(record | {"ending": Ending.FINISHED.value}).is_cut
