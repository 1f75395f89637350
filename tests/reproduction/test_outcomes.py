"""Numbers of a finished trial are those of its files, averaged where they say so."""

import json
from pathlib import Path

import pytest

from rstar2.errors import DataError
from rstar2.reproduction.arms import Arm
from rstar2.reproduction.outcomes import Outcome, Step, common_budget, read_outcome
from rstar2.reproduction.trials import Trial

TRIAL = Trial(arm=Arm(name="topk", title="RoC"), seed=3)


def finished(root: Path, rewards: list[float], tokens_per_step: int = 100) -> Outcome:
    folder = TRIAL.folder(root)
    folder.mkdir(parents=True)
    rows = [
        {"name": name, "pass_at_1": 0.1 * i, "wall_s": 10.0}
        for i, name in enumerate(("base", "sft", "rl1", "rl2"))
    ]
    (folder / "summary.json").write_text(json.dumps({"seed": 3, "stages": rows}))
    records = [{"phase": "sft", "step": 1, "loss": 2.0}]
    for step, reward in enumerate(rewards):
        stage = "rl1" if step < 4 else "rl2"
        records.append(
            {"phase": stage, "step": step, "reward": reward, "engine_decode_tokens": tokens_per_step}
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rollouts = [
        {"phase": phase, "statuses": statuses, "reward": reward}
        for phase, statuses, reward in (
            ("evaluation/sft", ["exception"], 1.0),
            ("rl1", [], 0.0),
            ("rl1", ["ok", "output_limit"], 1.0),
            ("rl1", ["ok"], 1.0),
            ("rl1", ["ok"], 1.0),
            ("rl1", ["exception", "ok"], 1.0),
            ("rl1", ["malformed"], 0.0),
            ("rl2", ["ok"], 0.0),
        )
    ]
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(rollout) + "\n" for rollout in rollouts))
    return read_outcome(TRIAL, root)


def test_right_rollouts_are_counted_by_stage_and_by_whether_a_call_had_failed(tmp_path: Path) -> None:
    right = finished(tmp_path, [0.0]).right
    assert (right["rl1", False], right["rl1", True], right["rl2", False]) == (0.75, 0.5, 0.0)
    assert ("rl2", True) not in right


def test_supervised_phases_are_left_out_and_tokens_add_up(tmp_path: Path) -> None:
    outcome = finished(tmp_path, [0.0, 0.1, 0.2, 0.6, 0.7])
    assert list(outcome.stages) == ["rl1", "rl2"]
    assert [step.generated_tokens for step in outcome.steps] == [100, 200, 300, 400, 500]
    assert (outcome.generated_tokens, outcome.wall_s) == (500, 20.0)


def test_the_end_of_a_stage_is_the_mean_of_its_last_three_steps(tmp_path: Path) -> None:
    outcome = finished(tmp_path, [0.0, 0.1, 0.2, 0.6, 0.7])
    assert outcome.at_end("rl1", "reward") == pytest.approx(0.3)
    assert outcome.at_end("rl2", "reward") == pytest.approx(0.7)
    assert outcome.through("rl1", "reward") == pytest.approx(0.225)


def step(**values: float) -> Step:
    return Step(stage="rl1", generated_tokens=1, values={"reward": 0.5, "calls_per_rollout": 1.0, **values})


def test_steps_in_which_no_right_rollout_could_have_an_error_do_not_count_as_free_of_errors() -> None:
    errors = {"tool_error_rate": 0.4, "tool_error_rate_correct": 0.2}
    none_right = step(tool_error_rate=0.8, tool_error_rate_correct=0.0, reward=0.0)
    no_calls = step(tool_error_rate=0.0, tool_error_rate_correct=0.0, calls_per_rollout=0.0)

    def outcome(*steps: Step) -> Outcome:
        return Outcome(trial=TRIAL, stages={}, steps=steps, right={})

    mixed = outcome(none_right, no_calls, step(**errors))
    assert mixed.through("rl1", "tool_error_rate") == pytest.approx(0.6)
    assert mixed.through("rl1", "tool_error_rate_correct") == pytest.approx(0.2)
    assert mixed.at_end("rl1", "reward") == pytest.approx(1 / 3)
    assert outcome(no_calls).at_end("rl1", "tool_error_rate") is None
    assert outcome(none_right).at_end("rl1", "tool_error_rate_correct") is None
    assert step(**errors, reward=0.0).value("tool_error_rate_correct") is None
    assert step(**errors, calls_per_correct_rollout=0.0).value("tool_error_rate_correct") is None
    assert step(**errors, calls_per_correct_rollout=1.0).value("tool_error_rate_correct") is not None


def test_within_a_budget_only_the_steps_that_it_paid_for_count(tmp_path: Path) -> None:
    outcome = finished(tmp_path, [0.0, 0.1, 0.2, 0.6, 0.7])
    assert outcome.within(399, "reward") == pytest.approx(0.1)
    assert outcome.within(400, "reward") == pytest.approx(0.3)
    assert outcome.within(500, "reward") == pytest.approx(0.5)


def test_a_budget_that_a_trial_never_spent_or_overran_at_once_says_nothing_of_it(tmp_path: Path) -> None:
    outcome = finished(tmp_path, [0.0, 0.1, 0.2, 0.6, 0.7])
    assert outcome.within(501, "reward") is None
    assert outcome.within(99, "reward") is None
    assert outcome.within(100, "reward") == 0.0


def test_the_common_budget_is_the_thriftiest_trials(tmp_path: Path) -> None:
    cheap, dear = finished(tmp_path / "1", [0.0] * 4), finished(tmp_path / "2", [0.0] * 4, 300)
    assert common_budget([dear, cheap]) == 400


def test_a_folder_without_a_finished_run_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished run: run `rstar2 reproduce` again"):
        read_outcome(TRIAL, tmp_path)
