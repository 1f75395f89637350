import json

import pytest

from rstar2.evaluation.evaluate import pass_at_1_by_task, summarise, tool_error_rate
from rstar2.types import (
    Ending,
    GradedRollout,
    Group,
    MalformedCall,
    Problem,
    Rollout,
    Segment,
    Source,
    ToolCall,
    ToolResult,
    ToolStatus,
    Turn,
)


def turn(status: ToolStatus) -> Turn:
    if status is ToolStatus.MALFORMED:
        return Turn(text="", call=MalformedCall(status=status, reason="?"))
    return Turn(text="", call=ToolCall(name="python", arguments="{}"), result=ToolResult(status=status))


def graded(reward: float, *statuses: ToolStatus, num_tokens: int = 10, is_cut: bool = False) -> GradedRollout:
    segments = (
        Segment(source=Source.PROMPT, token_ids=(1,) * 50),
        Segment(source=Source.ENVIRONMENT, token_ids=(2,) * num_tokens),
    )
    rollout = Rollout(
        problem_id="p",
        index=0,
        segments=segments,
        turns=tuple(turn(status) for status in statuses),
        ending=Ending.TOKEN_LIMIT if is_cut else Ending.FINISHED,
        answer=None,
        num_answers=0,
    )
    return GradedRollout(rollout=rollout, reward=reward)


def group(task: str, *rollouts: GradedRollout, num_dropped: int = 0) -> Group:
    problem = Problem(id=task, question="q", answer="1", task=task)
    return Group(problem=problem, rollouts=rollouts, num_dropped=num_dropped)


GROUPS = (
    group("gcd", graded(1.0, ToolStatus.OK, ToolStatus.EXCEPTION), graded(0.0, num_tokens=40, is_cut=True)),
    group("gcd", graded(1.0, ToolStatus.OK), num_dropped=1),
    group("lcm", graded(0.0, ToolStatus.MALFORMED, ToolStatus.OUTPUT_LIMIT), graded(0.0)),
    group("lost", num_dropped=2),
)


def test_pass_at_1_averages_problems_and_the_rest_averages_rollouts() -> None:
    summary = summarise(GROUPS, seed=0)
    assert summary.pass_at_1 == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert summary.pass_at_1_ci95[0] <= summary.pass_at_1 <= summary.pass_at_1_ci95[1]
    assert summary.tool_error_rate == pytest.approx(2 / 5)
    assert summary.tool_error_rate_correct == pytest.approx(1 / 3)
    assert summary.recovery_rate == pytest.approx(1 / 2)
    assert summary.calls_per_rollout == pytest.approx(5 / 5)
    assert summary.tokens_per_rollout == pytest.approx((4 * 10 + 40) / 5)
    assert summary.clip_ratio == pytest.approx(1 / 5)
    assert (summary.num_rollouts, summary.num_dropped) == (5, 3)


def test_where_no_call_failed_there_is_nothing_to_recover_from() -> None:
    assert summarise([group("gcd", graded(1.0, ToolStatus.OK))], seed=0).recovery_rate is None


def test_a_problem_that_lost_all_its_rollouts_is_not_a_problem_that_was_failed() -> None:
    assert summarise(GROUPS, seed=0).pass_at_1 == summarise(GROUPS[:-1], seed=0).pass_at_1


def test_a_summary_is_json_and_repeats_itself() -> None:
    first, second = (json.dumps(summarise(GROUPS, seed=3).as_dict()) for _ in range(2))
    assert first == second
    assert json.loads(first)["pass_at_1_ci95"] == list(summarise(GROUPS, seed=3).pass_at_1_ci95)


def test_without_calls_the_error_rate_is_zero() -> None:
    assert tool_error_rate([graded(1.0)]) == 0.0
    assert tool_error_rate([]) == 0.0


def test_tasks_are_told_apart_in_alphabetical_order_and_lost_ones_left_out() -> None:
    by_task = pass_at_1_by_task(GROUPS[::-1])
    assert list(by_task.items()) == [("gcd", pytest.approx(2 / 3)), ("lcm", 0.0)]
