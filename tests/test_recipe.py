"""The whole recipe, shrunken (`shrunken/recipe.toml`), in a process: a killed run ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SECOND_STAGE = """
[[stages]]
name = "rl2"
steps = 2
problems_per_step = 2
oversample = 4
group_size = 4
max_response_tokens = 96
max_turns = 2
lr = 1e-3
warmup_steps = 0
problems = "unmastered"
mastery_rollouts = 2
"""

NUM_LINES = 3 + 50 + 2 + 2
KILLS = {0: ((2, 0.0), (30, 0.0), (54, 0.0), (55, 0.2)), 2: ((30, 0.0), (55, 0.0))}
"""By number of learner ranks, (lines of metrics.jsonl, seconds after them): in pre-training, SFT and RL, and
between the stages."""
AHEAD = ("rollout.max_lag=1", "learner.importance_cap=2", "stages.0.steps=6")
"""Engines that play the next batch while the learner learns."""


def start(folder: Path, overrides: Sequence[str]) -> "subprocess.Popen[str]":
    """`rstar2 train` with a home of its own, where the base is cached."""
    folder.mkdir(exist_ok=True)
    config = folder.parent / "two_stages.toml"
    config.write_text((ROOT / "tests/shrunken/recipe.toml").read_text() + SECOND_STAGE)
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from rstar2.cli import main; main()",
            "train",
            config,
            "--run",
            folder / "run",
            *(argument for override in overrides for argument in ("-s", override)),
        ],
        cwd=ROOT,
        env={**os.environ, "HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, overrides: Sequence[str], *, limit_s: float = 250) -> None:
    child = start(folder, overrides)
    _, stderr = child.communicate(timeout=limit_s)
    assert child.returncode == 0, stderr


def kill_after(folder: Path, overrides: Sequence[str], *, num_lines: int, delay_s: float = 0.0) -> None:
    metrics = folder / "run" / "metrics.jsonl"
    with start(folder, overrides) as child:
        while child.poll() is None:
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= num_lines:
                time.sleep(delay_s)
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
    assert child.returncode == -signal.SIGKILL, f"the run ended before it had {num_lines} lines of metrics"


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """Every metric but times, waits that depend on them, and peaks since the process started."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    different = ("_s", "waits_for_tools", "peak_running", "peak_kv_tokens")
    return [
        {name: value for name, value in json.loads(line).items() if not name.endswith(different)}
        for line in lines
    ]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "run" / "summary.json").read_text())["stages"]
    return [{name: value for name, value in row.items() if name != "wall_s"} for row in rows]


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_ranks", KILLS)
def test_a_run_that_was_killed_again_and_again_ends_with_the_same_bits(
    num_ranks: int, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    overrides = [f"learner.num_ranks={num_ranks}"]
    with ThreadPoolExecutor(1) as beside:
        uninterrupted = beside.submit(finish, whole, overrides)
        for num_lines, delay_s in KILLS[num_ranks]:
            kill_after(killed, overrides, num_lines=num_lines, delay_s=delay_s)
        finish(killed, overrides)
        uninterrupted.result()

    metrics = metrics_of(whole)
    assert len(metrics) == NUM_LINES
    learned = [
        line for line in metrics if line["phase"] in ("rl1", "rl2") and line["learner_num_target_tokens"]
    ]
    assert learned, "no group had mixed rewards: reinforcement learning was not put to the test"
    assert any(line["calls_per_rollout"] > 0 for line in learned)

    assert metrics_of(killed) == metrics
    assert rows_of(killed) == rows_of(whole)
    assert not (killed / "run/weights").exists(), "it was for the engines, and they have ended"
    for name in ("rollouts.jsonl", "models/base/model.safetensors", "models/rl2/model.safetensors"):
        assert (killed / "run" / name).read_bytes() == (whole / "run" / name).read_bytes(), name


def learned_problems(folder: Path) -> list[tuple[str, int, str]]:
    """(phase, step, problem) of each group of the RL steps, in the order of their recording."""
    lines = (folder / "run" / "rollouts.jsonl").read_text().splitlines()
    records = [record for line in lines if (record := json.loads(line))["phase"].startswith("rl")]
    return list(dict.fromkeys((r["phase"], r["step"], r["problem"]) for r in records))


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_engines_that_were_ahead_when_killed_play_again_what_was_not_learned_from(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with ThreadPoolExecutor(1) as beside:
        uninterrupted = beside.submit(finish, whole, AHEAD)
        for num_lines in (3 + 50 + 2, 3 + 50 + 4):
            kill_after(killed, AHEAD, num_lines=num_lines)
        finish(killed, AHEAD)
        uninterrupted.result()

    steps = {run: [(m["phase"], m["step"]) for m in metrics_of(run)] for run in (whole, killed)}
    assert steps[killed] == steps[whole]
    assert len(set(steps[whole])) == len(steps[whole]) == 3 + 50 + 6 + 2
    rl1 = [problem for problem in learned_problems(whole) if problem[0] == "rl1"]
    assert [problem for problem in learned_problems(killed) if problem[0] == "rl1"] == rl1
    assert len({problem for _, step, problem in rl1 if step <= 3}) == 6, "each once before any comes again"
    lags = {run: [m["lag_versions"] for m in metrics_of(run)[53:]] for run in (whole, killed)}
    assert lags[whole] == [0, 1, 1, 1, 1, 1, 0, 1]
    assert set(lags[killed]) == {0, 1}
    assert sum(lags[killed]) < sum(lags[whole]), "a resumed run begins with the newest weights"
    # Until it was first killed it did the same to the bit: time does not decide which weights play a batch.
    assert metrics_of(killed)[:54] == metrics_of(whole)[:54]


VLLM = ("engine.kind=vllm", "engine.num_engines=1", "model.tiny.head_dim=32", "stages.0.steps=3")


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_plays_the_recipe_and_measures_what_came_of_it(tmp_path: Path) -> None:
    finish(tmp_path, VLLM, limit_s=600)
    metrics = metrics_of(tmp_path)
    learned = [line for line in metrics if line.get("learner_num_target_tokens") and "reward" in line]
    assert learned, "no group had mixed rewards: reinforcement learning was not put to the test"
    # Each step's tokens were drawn by vLLM and scored by the learner, whose weights have just moved.
    assert max(line["learner_mismatch_max"] for line in learned) < 1e-3
    assert all(line["engine_reused_tokens"] > 0 for line in learned)
    rows = rows_of(tmp_path)
    assert rows[-1]["calls_per_rollout"] > 0

    done = subprocess.run(
        [
            sys.executable, "-c", "from rstar2.cli import main; main()", "eval",
            "--model", tmp_path / "run/models/rl2", "--out", tmp_path / "score.json", "--temperature", "0",
        ],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "score.json").read_text())["num_problems"] == 4
