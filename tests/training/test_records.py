import json
from pathlib import Path
from typing import Any

import pytest

from rstar2.errors import CheckpointError
from rstar2.protocol.template import Template
from rstar2.telemetry import Window
from rstar2.telemetry.trackers import Trackers
from rstar2.training.records import Records
from rstar2.training.state import RunState
from rstar2.types import (
    Ending,
    GradedRollout,
    Group,
    MalformedCall,
    Problem,
    Rollout,
    Segment,
    Source,
    ToolStatus,
    Turn,
)

WINDOW = Window(wall_s=2.0, in_flight={"tools": (1.0,)}, shares_s={"tools": 2.0})


class Notebook:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, step: int, values: Any) -> None:
        self.lines.append((step, dict(values)))

    def close(self) -> None: ...


def records(folder: Path, template: Template, trackers: Trackers | None = None) -> Records:
    return Records(folder, template.tokenizer, max_rollouts=8, trackers=trackers or Trackers())


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def erring_rollout(index: int) -> GradedRollout:
    """One malformed call, then an answer."""
    bad = MalformedCall(status=ToolStatus.MALFORMED, reason="no JSON")
    rollout = Rollout(
        problem_id="p",
        index=index,
        segments=(Segment(source=Source.PROMPT, token_ids=(1, 2)),),
        turns=(Turn(text="call", call=bad), Turn(text="6")),
        ending=Ending.FINISHED,
        answer="6",
        num_answers=2,
    )
    return GradedRollout(rollout=rollout, reward=1.0)


def test_a_rollout_is_kept_with_its_fate_and_with_what_roc_held_against_it(tmp_path, template):
    group = Group(
        problem=Problem(id="p", question="?", answer="6"),
        rollouts=(erring_rollout(0), erring_rollout(1)),
    )
    chosen = Group(problem=group.problem, rollouts=group.rollouts[1:])
    records(tmp_path, template).keep_rollouts("rl1", 3, [group], [chosen])
    found = lines(tmp_path / "rollouts.jsonl")
    assert [record["kept"] for record in found] == [False, True]
    # One of one call failed; two answers in two turns.
    assert {(record["error_penalty"], record["format_penalty"]) for record in found} == {(1.0, 0.5)}


def test_a_problem_that_a_step_drew_twice_has_two_groups_of_its_own(tmp_path, template):
    groups = [
        Group(problem=Problem(id=name, question="?", answer="6"), rollouts=(erring_rollout(0),))
        for name in ("a", "c", "a")
    ]
    records(tmp_path, template).keep_rollouts("rl1", 3, groups, groups)
    found = lines(tmp_path / "rollouts.jsonl")
    assert [record["occasion"] for record in found] == [0, 0, 1]


def test_a_resumed_run_forgets_the_timeline_of_steps_that_it_takes_again(tmp_path, template):
    first, state = records(tmp_path, template), RunState()
    first.keep_window("rl1", 1, WINDOW)
    first.note_lengths(state)
    first.keep_window("rl1", 2, WINDOW)
    again = records(tmp_path, template)
    again.cut_back(state)
    again.keep_window("rl1", 2, WINDOW)
    found = lines(tmp_path / "timeline.jsonl")
    assert [(record["phase"], record["step"]) for record in found] == [("rl1", 1), ("rl1", 2)]
    assert found[0]["shares_s"] == {"tools": 2.0}


def test_trackers_count_steps_through_all_phases_also_after_a_resume(tmp_path, template):
    notebook = Notebook()
    with Trackers({"notebook": lambda _: notebook}) as trackers:
        kept = records(tmp_path, template, trackers)
        kept.cut_back(RunState(total_steps=5))
        kept.keep_metrics("sft", 1, {"loss": 1.0})
        kept.keep_metrics("rl1", 1, {"reward": 0.5})
        kept.track_evaluation({"name": "rl1", "pass_at_1": 0.75})
    assert notebook.lines == [
        (6, {"sft/loss": 1.0}),
        (7, {"rl/reward": 0.5}),
        (7, {"evaluation/pass_at_1": 0.75}),
    ]


FILES = [
    "metrics.jsonl",
    "timeline.jsonl",
    "rollouts.jsonl",
    ".traces.jsonl.partial",
    ".summary.json.partial",
]


def write_everything(kept: Records) -> None:
    group = Group(problem=Problem(id="p", question="?", answer="6"), rollouts=(erring_rollout(0),))
    kept.keep_metrics("rl1", 1, {"reward": 1.0})
    kept.keep_window("rl1", 1, WINDOW)
    kept.keep_rollouts("rl1", 1, [group], [group])
    kept.keep_traces([group], max_response_tokens=9)
    kept.write_summary([], seed=0)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path, template, name):
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"could not be written .*{name}.*; check space and rights"):
        write_everything(records(tmp_path, template))


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, template):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl could not be written .*No space left"):
        records(tmp_path, template).keep_metrics("rl1", 1, {"reward": 1.0})


def test_a_file_that_cannot_be_cut_back_is_such_an_error_too(tmp_path, template):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(CheckpointError, match="could not be written"):
        records(tmp_path, template).cut_back(RunState(metrics_bytes=1))
