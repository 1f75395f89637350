import json
from pathlib import Path
from typing import Any

import pytest

from rstar2.evaluation.report import run_parts
from rstar2.evaluation.report.occasions import RolloutFile
from rstar2.evaluation.report.run_parts import RunParts, task_table
from rstar2.telemetry import JsonLines


def rollout(phase: str, step: int, text: str = "6", index: int = 0) -> dict[str, Any]:
    return {
        "phase": phase, "step": step, "kept": True, "problem": "gcd-1", "task": "gcd", "question": "?",
        "expected": "6", "answer": "6", "index": index, "reward": 1.0, "ending": "finished", "tokens": 2,
        "statuses": [], "calls": [None], "segments": [{"source": "model", "text": text}],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, summary: dict[str, Any]) -> Path:
    for step in (1, 2):
        JsonLines(tmp_path / "metrics.jsonl").append({"phase": "rl1", "step": step, "reward": 0.5})
        JsonLines(tmp_path / "rollouts.jsonl").append(rollout("rl1", step))
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "config.toml").write_text('[roc]\nmode = "topk"\n')
    return tmp_path


def test_numbers_arrive_as_they_are_in_the_summary(run):
    parts = {name: json.loads(text) for name, text in RunParts(run).read().items()}
    assert parts["phases"] == [
        ["rl1", "2", "75.0%", "50-100%", "12.5%", "0.0%", "1.50", "100", "2.0%", "12 s"]
    ]
    assert parts["about"]["roc"] == {"mode": "topk"}
    assert parts["about"]["config"] == '[roc]\nmode = "topk"\n'


def test_a_run_that_has_just_begun_has_its_first_curve(tmp_path):
    assert RunParts(tmp_path).read() == {}
    JsonLines(tmp_path / "metrics.jsonl").append({"phase": "base", "step": 1, "loss": 6.0})
    parts = RunParts(tmp_path).read()
    assert [chart["title"] for chart in json.loads(parts["charts"])] == ["Pre-training loss"]
    assert json.loads(parts["about"])["subtitle"] == "1 optimizer steps so far"
    assert not [name for name in parts if name.startswith("rollouts/")]


def test_time_is_that_of_the_whole_run_only_when_all_of_its_phases_have_ended(run, summary):
    (row,) = summary["stages"]
    (run / "config.toml").write_text('[[stages]]\nname = "rl1"\n[[stages]]\nname = "rl2"\n')

    def subtitle(*ended: str) -> str:
        stages = [row | {"name": name} for name in ended]
        (run / "summary.json").write_text(json.dumps(summary | {"stages": stages}))
        return str(json.loads(RunParts(run).read()["about"])["subtitle"])

    so_far = "seed 3, 2 optimizer steps so far, 1.5 minutes in finished phases"
    assert subtitle("base") == so_far
    assert subtitle("base", "sft", "rl1") == so_far
    assert subtitle("base", "sft", "rl1", "rl2") == "seed 3, 2 optimizer steps, 1.5 minutes"


def test_a_run_that_goes_on_changes_only_what_is_new(run):
    parts = RunParts(run)
    before = parts.read()
    JsonLines(run / "metrics.jsonl").append({"phase": "rl1", "step": 3, "reward": 0.75})
    JsonLines(run / "rollouts.jsonl").append(rollout("rl1", 3))
    after = parts.read()
    assert {name for name in after if after[name] != before.get(name)} == {
        "about",
        "charts",
        "rollouts/rl1/3",
    }
    assert after == RunParts(run).read()


def test_steps_stand_in_the_order_of_the_run_and_whole(run):
    path = run / "rollouts.jsonl"
    for record in (rollout("rl1", 2, index=1), rollout("evaluation/rl1", 2), rollout("rl2", 1)):
        JsonLines(path).append(record)
    parts = RunParts(run).read()
    names = [name for name in parts if name.startswith("rollouts/")]
    assert names == ["rollouts/rl1/1", "rollouts/rl1/2", "rollouts/evaluation/rl1/2", "rollouts/rl2/1"]
    assert [c["index"] for c in json.loads(parts["rollouts/rl1/2"])] == [0, 1]


def test_where_there_is_little_room_evaluations_and_ends_of_stages_come_first(tmp_path, monkeypatch):
    JsonLines(tmp_path / "metrics.jsonl").append({"phase": "rl1", "step": 1})
    for step in range(1, 10):
        JsonLines(tmp_path / "rollouts.jsonl").append(rollout("rl1", step, "x" * 900))
    JsonLines(tmp_path / "rollouts.jsonl").append(rollout("evaluation/rl1", 9, "x" * 900))
    monkeypatch.setattr(run_parts, "_LARGEST_SHARE", 1.0)
    everything = RunParts(tmp_path).read()
    size = len(everything["rollouts/rl1/9"])
    others = sum(len(text) for name, text in everything.items() if not name.startswith("rollouts/"))

    def shown(count: float) -> list[str]:
        parts = RunParts(tmp_path, max_bytes=others + int(count * size)).read()
        return [name.removeprefix("rollouts/") for name in parts if name.startswith("rollouts/")]

    assert shown(1.5) == ["evaluation/rl1/9"]
    assert shown(3.5) == ["rl1/1", "rl1/9", "evaluation/rl1/9"]
    assert shown(4.5) == ["rl1/1", "rl1/8", "rl1/9", "evaluation/rl1/9"]
    assert len(shown(99)) == 10


def test_entropies_appear_when_somebody_has_computed_them(run):
    for index in (0, 1):
        JsonLines(run / "rollouts.jsonl").append(rollout("evaluation/rl1", 2, index=index))
    parts = RunParts(run)

    def tokens(occasion: str) -> list[Any]:
        return [c["tokens"] for c in json.loads(parts.read()[f"rollouts/{occasion}"])]

    assert tokens("evaluation/rl1/2") == [[], []]
    turn = {"pieces": ["6"], "entropies_nats": [0.5], "kinds": ["answer"]}
    key = {"phase": "evaluation/rl1", "step": 2, "problem": "gcd-1", "index": 1}
    JsonLines(run / "entropies.jsonl").append({**key, "turns": [turn]})
    assert tokens("evaluation/rl1/2") == [[], [turn]]
    assert tokens("rl1/1") == [[]]


def test_a_task_that_a_phase_does_not_have_is_a_gap():
    rows = [
        {"name": "a", "pass_at_1_by_task": {"gcd": 0.5}},
        {"name": "b", "pass_at_1_by_task": {"lcm": 1.0}},
    ]
    assert task_table(rows) == {
        "phases": ["a", "b"],
        "tasks": [{"name": "gcd", "shares": [0.5, None]}, {"name": "lcm", "shares": [None, 1.0]}],
    }


def test_an_occasion_of_very_long_rollouts_shows_its_first_groups(tmp_path):
    JsonLines(tmp_path / "metrics.jsonl").append({"phase": "rl1", "step": 1})
    for problem in ("a", "b", "c"):
        for index in (0, 1):
            record = rollout("rl1", 1, "x" * 900, index) | {"problem": problem}
            JsonLines(tmp_path / "rollouts.jsonl").append(record)
    size = len(RunParts(tmp_path).read()["rollouts/rl1/1"]) / 6
    parts = RunParts(tmp_path, max_bytes=int(8 * 4.5 * size)).read()
    shown = [(c["problem"], c["index"]) for c in json.loads(parts["rollouts/rl1/1"])]
    assert shown == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_groups_of_one_problem_that_follow_each_other_are_cut_between(tmp_path):
    JsonLines(tmp_path / "metrics.jsonl").append({"phase": "rl1", "step": 1})
    for occasion in (0, 1):
        for index in (0, 1):
            record = rollout("rl1", 1, "x" * 900, index) | {"occasion": occasion}
            JsonLines(tmp_path / "rollouts.jsonl").append(record)
    both = json.loads(RunParts(tmp_path).read()["rollouts/rl1/1"])
    assert len({c["id"] for c in both}) == 4
    size = len(json.dumps(both)) / 4
    (first, second) = json.loads(RunParts(tmp_path, max_bytes=int(8 * 2.5 * size)).read()["rollouts/rl1/1"])
    assert (first["occasion"], second["occasion"]) == (0, 0)


def test_entropies_find_the_group_that_they_are_of(run):
    for occasion in (0, 1):
        JsonLines(run / "rollouts.jsonl").append(rollout("rl1", 3) | {"occasion": occasion})
        turn = {"pieces": ["6"], "entropies_nats": [float(occasion)], "kinds": [None]}
        key = {"phase": "rl1", "step": 3, "problem": "gcd-1", "occasion": occasion, "index": 0}
        JsonLines(run / "entropies.jsonl").append({**key, "turns": [turn]})
    found = json.loads(RunParts(run).read()["rollouts/rl1/3"])
    assert [c["tokens"][0]["entropies_nats"] for c in found] == [[0.0], [1.0]]


def test_rollouts_get_the_room_that_curves_leave(tmp_path):
    for step in range(1, 301):
        record = {"phase": "rl1", "step": step, "reward": step / 301, "learner_loss": 1 / step}
        JsonLines(tmp_path / "metrics.jsonl").append(record)
    for step in range(1, 31):
        JsonLines(tmp_path / "rollouts.jsonl").append(rollout("rl1", step, "x" * 900))
    everything = sum(map(len, RunParts(tmp_path).read().values()))
    parts = RunParts(tmp_path, max_bytes=everything - 5_000).read()
    assert everything - 7_000 < sum(map(len, parts.values())) <= everything - 5_000
    assert len(parts["charts"]) > 5_000


def test_steps_that_do_not_fit_are_neither_all_tried_nor_read_again(tmp_path, monkeypatch):
    JsonLines(tmp_path / "metrics.jsonl").append({"phase": "rl1", "step": 1})
    for step in range(1, 31):
        JsonLines(tmp_path / "rollouts.jsonl").append(rollout("rl1", step, "x" * 2_000))
    read = []
    records = RolloutFile.records
    monkeypatch.setattr(RolloutFile, "records", lambda file, of: read.append(of.step) or records(file, of))
    parts = RunParts(tmp_path, max_bytes=6_000)
    before = parts.read()
    assert [name for name in before if name.startswith("rollouts/")] == ["rollouts/rl1/1", "rollouts/rl1/30"]
    assert len(read) == 2 + 8
    assert parts.read() == before
    assert len(read) == 2 + 8
