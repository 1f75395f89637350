import random
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.config import RocSection, RunConfig, StageSection
from rstar2.telemetry import Window
from rstar2.training.rl import (
    LEGEND,
    dealt,
    group_metrics,
    idle_seconds,
    learn,
    resampled,
    stage_limits,
    step_line,
)
from rstar2.types import (
    Ending,
    GradedRollout,
    Group,
    Problem,
    Rollout,
    Segment,
    Source,
    StepReport,
    ToolCall,
    ToolResult,
    ToolStatus,
    TrainSample,
    Turn,
)

STAGE = StageSection(name="rl", steps=1, oversample=4, group_size=2, max_response_tokens=99, max_turns=3)


def graded(
    index: int, reward: float, statuses: list[ToolStatus], *, num_tokens: int, is_cut: bool = False
) -> GradedRollout:
    call = ToolCall(name="python", arguments="{}")
    rollout = Rollout(
        problem_id="p",
        index=index,
        segments=(
            Segment(source=Source.PROMPT, token_ids=(1,) * 100),
            Segment(
                source=Source.MODEL, token_ids=(2,) * num_tokens, logprobs=(-1.0,) * num_tokens, version=0
            ),
        ),
        turns=tuple(Turn(text="", call=call, result=ToolResult(status=status)) for status in statuses),
        ending=Ending.TOKEN_LIMIT if is_cut else Ending.FINISHED,
        answer=None,
        num_answers=1,
    )
    return GradedRollout(rollout=rollout, reward=reward)


def group(*rollouts: GradedRollout, num_dropped: int = 0) -> Group:
    problem = Problem(id="p", question="q", answer="1")
    return Group(problem=problem, rollouts=rollouts, num_dropped=num_dropped)


OK, EXCEPTION = ToolStatus.OK, ToolStatus.EXCEPTION
MIXED = group(
    graded(0, 1.0, [OK, EXCEPTION], num_tokens=10),
    graded(1, 0.0, [EXCEPTION, EXCEPTION], num_tokens=30, is_cut=True),
    num_dropped=1,
)
ALL_RIGHT = group(graded(0, 1.0, [OK], num_tokens=20))
ALL_WRONG = group(graded(0, 0.0, [], num_tokens=40))
LOST = group(num_dropped=2)


def test_metrics_of_a_step_are_means_over_rollouts_and_shares_of_groups() -> None:
    assert group_metrics([MIXED, ALL_RIGHT, ALL_WRONG, LOST], prefix="") == pytest.approx(
        {
            "groups": 4,
            "rollouts": 4,
            "dropped": 3,
            "reward": 2 / 4,
            "tool_error_rate": 3 / 5,
            "tool_error_rate_correct": 1 / 3,
            "calls_per_rollout": 5 / 4,
            "calls_per_correct_rollout": 3 / 2,
            "tokens_per_rollout": 100 / 4,
            "clip_ratio": 1 / 4,
            "all_correct_share": 1 / 4,
            "all_wrong_share": 1 / 4,
        }
    )


def test_where_there_is_nothing_to_average_only_counts_are_told() -> None:
    metrics = group_metrics([LOST], prefix="kept_")
    assert metrics == {"kept_groups": 1, "kept_rollouts": 0, "kept_dropped": 2}


def test_with_roc_off_everything_is_learned_from() -> None:
    assert resampled(MIXED, STAGE, RocSection(mode="off"), random.Random(0)) is MIXED


@pytest.mark.parametrize("mode", ["weighted", "topk", "random"])
def test_with_any_other_mode_a_stage_keeps_its_group_size(mode: str) -> None:
    whole = group(*(graded(i, float(i < 2), [OK], num_tokens=5) for i in range(4)))
    section = RocSection.model_validate({"mode": mode, "min_each": 1})
    kept = resampled(whole, STAGE, section, random.Random(0))
    assert sorted(kept.rewards) == [0.0, 1.0]
    assert {r.rollout.index for r in kept.rollouts} <= {0, 1, 2, 3}


def test_one_update_learns_from_all_samples_at_once() -> None:
    assert dealt([["a", "b"], [], ["c"]], 1) == [["a", "b", "c"]]


@given(sizes=st.lists(st.integers(0, 4), max_size=12), count=st.integers(1, 5))
def test_updates_share_the_groups_evenly_and_cut_none(sizes: list[int], count: int) -> None:
    groups = [[f"{n}.{i}" for i in range(size)] for n, size in enumerate(sizes)]
    shares = dealt(groups, count)
    numbers = [{sample.split(".")[0] for sample in share} for share in shares]
    assert sorted(s for share in shares for s in share) == sorted(s for samples in groups for s in samples)
    assert sum(map(len, numbers)) == sum(size > 0 for size in sizes)
    assert max(map(len, numbers)) - min(map(len, numbers)) <= 1
    assert len(shares) == min(count, max(1, sum(size > 0 for size in sizes)))


class RememberingLearner:
    """Of the `Learner` port, what an RL step needs."""

    def step(self, *shares: Sequence[TrainSample], **_: object) -> StepReport:
        self.shares = shares
        return StepReport(metrics=(("loss", 0.5),))


@pytest.mark.parametrize("updates", [1, 2])
def test_all_updates_of_a_batch_are_one_call_as_they_share_their_old_policy(updates: int) -> None:
    learner = RememberingLearner()
    config = RunConfig(roc=RocSection(mode="off"))
    parts = SimpleNamespace(config=config, learner=learner)
    stage = STAGE.model_copy(update={"updates": updates})
    learned = learn(parts, stage, [MIXED, ALL_RIGHT, MIXED], step=0)  # type: ignore[arg-type]
    assert [len(share) for share in learner.shares] == [4 // updates] * updates
    assert learned.metrics["learner_loss"] == 0.5


def test_a_step_without_a_group_to_learn_from_tells_no_reward_of_those_kept() -> None:
    parts = SimpleNamespace(config=RunConfig(roc=RocSection(mode="off")), learner=RememberingLearner())
    learned = learn(parts, STAGE, [ALL_RIGHT, ALL_WRONG], step=0)  # type: ignore[arg-type]
    kept = {name: value for name, value in learned.metrics.items() if name.startswith("kept_")}
    assert kept == {"kept_groups": 0, "kept_rollouts": 0, "kept_dropped": 0}


def test_a_stage_limits_its_rollouts() -> None:
    limits = stage_limits(STAGE, tool_response_chars=77)
    assert (limits.max_response_tokens, limits.max_turns, limits.tool_response_chars) == (99, 3, 77)
    assert (limits.temperature, limits.top_p) == (1.0, 1.0)


def test_idle_is_who_does_nothing_while_the_step_goes_on() -> None:
    shares_s = {"learner": 1.0, "both": 2.0, "generation": 4.0, "tools": 8.0, "idle": 16.0}
    window = Window(wall_s=31.0, in_flight={}, shares_s=shares_s)
    assert idle_seconds(window) == {"step_s": 31.0, "learner_idle_s": 28.0, "engines_idle_s": 25.0}


def test_a_step_is_told_in_a_line_of_80_columns() -> None:
    metrics = {
        "reward": 0.954, "tool_error_rate": 0.353, "tool_error_rate_correct": 0.121, "clip_ratio": 0.152,
        "tokens_per_rollout": 8123.4, "step_s": 612.3, "learner_idle_s": 251.0, "engines_idle_s": 18.0,
    }  # fmt: skip
    line = step_line("rl1", 123, 300, metrics)
    assert line == ("rl1 123/300  reward 0.95  errors 35/12%  8123 tokens  cut 15%  612 s  idle 41/3%")
    assert max(len(line), len(f"rl1: {LEGEND}")) <= 80
    assert "  7.5 s  " in step_line("rl1", 1, 300, metrics | {"step_s": 7.46})
