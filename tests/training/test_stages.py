import pytest

from rstar2.config import ExitRule, PretrainingSection, SftSection, StageSection
from rstar2.training.stages import (
    StepOutcome,
    cooled_down,
    half_cosine,
    probe_size,
    reason_to_leave,
    supervised_lr,
    unmastered,
    warmed_up,
)
from rstar2.types import Ending, GradedRollout, Group, Problem, Rollout


def outcomes(rewards: list[float], all_correct_share: float = 0.0) -> list[StepOutcome]:
    return [StepOutcome(reward=r, all_correct_share=all_correct_share) for r in rewards]


def group(problem_id: str, rewards: list[float], num_dropped: int = 0) -> Group:
    rollout = Rollout(
        problem_id=problem_id,
        index=0,
        segments=(),
        turns=(),
        ending=Ending.FINISHED,
        answer=None,
        num_answers=0,
    )
    return Group(
        problem=Problem(id=problem_id, question="q", answer="1"),
        rollouts=tuple(GradedRollout(rollout=rollout, reward=reward) for reward in rewards),
        num_dropped=num_dropped,
    )


@pytest.mark.parametrize(
    ("step", "warmup_steps", "lr"),
    [(0, 0, 4.0), (7, 0, 4.0), (0, 3, 1.0), (2, 3, 3.0), (3, 3, 4.0), (9, 3, 4.0)],
)
def test_the_rate_rises_in_a_line_and_stays(step: int, warmup_steps: int, lr: float) -> None:
    assert warmed_up(4.0, step=step, warmup_steps=warmup_steps) == pytest.approx(lr)


@pytest.mark.parametrize(
    ("step", "warmup_steps", "lr"),
    [(0, 0, 4.0), (5, 0, 2.0), (9, 0, 0.4), (10, 0, 0.2), (0, 1, 2.0), (1, 1, 3.6)],
)
def test_the_supervised_rate_falls_in_a_line_to_a_twentieth(step: int, warmup_steps: int, lr: float) -> None:
    assert cooled_down(4.0, step=step, steps=10, warmup_steps=warmup_steps) == pytest.approx(lr)


@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 4 / 3), (1, 8 / 3), (2, 4.0), (6, 2.0), (10, 0.0)],  # cos(pi / 2) = 0 halfway between 2 and 10
)
def test_the_cosine_falls_from_the_warm_ups_end_to_nothing(step: int, lr: float) -> None:
    assert half_cosine(4.0, step=step, steps=10, warmup_steps=2) == pytest.approx(lr)


def test_the_papers_sft_warms_up_for_208_of_5204_steps() -> None:
    section = SftSection(
        files=("x",), epochs=3, samples_per_step=128, lr=5e-6, warmup_share=0.04, decay="cosine"
    )
    steps = section.num_steps(222_000)
    rates = [supervised_lr(section, step=step, steps=steps) for step in range(steps)]
    assert steps == 5204
    assert rates.index(max(rates)) == 208
    assert max(rates) == pytest.approx(5e-6)
    assert rates[-1] < 1e-12


def test_phases_of_the_tiny_model_fall_in_a_line() -> None:
    for section in (PretrainingSection(lr=4.0, warmup_steps=1), SftSection(lr=4.0, warmup_steps=1)):
        assert supervised_lr(section, step=1, steps=10) == pytest.approx(3.6)


def test_a_stage_without_exit_rules_never_ends_early() -> None:
    assert reason_to_leave(ExitRule(window_steps=1), outcomes([1.0] * 50, all_correct_share=1.0)) is None


@pytest.mark.parametrize(("shares", "leaves"), [([0.9], False), ([0.7, 0.7], False), ([0.0, 0.6, 0.9], True)])
def test_a_stage_ends_when_too_many_groups_are_all_correct_over_the_window(
    shares: list[float], leaves: bool
) -> None:
    rule = ExitRule(all_correct_share=0.7, window_steps=2)
    history = [StepOutcome(reward=0.0, all_correct_share=share) for share in shares]
    reason = reason_to_leave(rule, history)
    assert (reason is not None) == leaves
    assert reason is None or reason == "75% of groups are all correct"


@pytest.mark.parametrize(
    ("rewards", "leaves"),
    [
        ([0.5, 0.5, 0.4, 0.4, 0.4], True),  # no window in the last 3 steps beats (0.5 + 0.5) / 2
        ([0.5, 0.5, 0.5, 0.5, 0.5], True),  # flat is not rising
        ([0.5, 0.5, 0.4, 0.5, 0.6], False),  # (0.5 + 0.6) / 2 is above 0.5
        ([0.9, 0.1, 0.4, 0.5, 0.52], False),  # one lucky step is not a window: (0.9 + 0.1) / 2
        ([0.5, 0.5, 0.4, 0.4], False),  # nothing to compare with yet: one step before the last 3
    ],
)
def test_a_stage_ends_when_the_mean_reward_no_longer_rises(rewards: list[float], leaves: bool) -> None:
    rule = ExitRule(plateau_steps=3, window_steps=2)
    assert (reason_to_leave(rule, outcomes(rewards)) is not None) == leaves


def test_problems_are_tried_for_mastery_by_as_many_rollouts_as_a_step_plays() -> None:
    papers = StageSection(
        name="rl3", steps=1, problems_per_step=512, oversample=32, group_size=16, mastery_rollouts=8
    )
    assert probe_size(papers, min_rollouts=2048) == 512 * 32 / 8
    small = papers.model_copy(update={"problems_per_step": 2, "mastery_rollouts": 3})
    assert probe_size(small, min_rollouts=2048) == 683  # of 3 rollouts each: 2049


def test_problems_solved_in_every_attempt_are_mastered_and_no_others() -> None:
    groups = [
        group("always", [1.0, 1.0]),
        group("mostly", [1.0, 0.0]),
        group("never", [0.0, 0.0]),
        group("lost", [], num_dropped=2),
        group("lost but for a right one", [1.0], num_dropped=1),
    ]
    assert unmastered(groups) == ("mostly", "never", "lost", "lost but for a right one")
