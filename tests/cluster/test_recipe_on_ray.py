"""The whole recipe on a Ray cluster of this machine, shrunken, while its processes are killed one by one."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
RL_STEPS = 8
NUM_SUPERVISED = 3 + 50
ROLLOUTS_PER_STEP = 2 * 4
ON_A_CLUSTER = (
    "run.reproducible=false",
    "learner.num_ranks=2",
    "cluster.sandbox_nodes=2",
    f"stages.0.steps={RL_STEPS}",
)

ProcessesWith = Callable[[str], list[psutil.Process]]


class Run:
    """`rstar2 train --cluster local` as a child, and all processes that come of it."""

    def __init__(self, folder: Path, processes_with: ProcessesWith, *overrides: str) -> None:
        self._processes_with = processes_with
        self.folder = folder / "run"
        self._mark = f"RSTAR2_TEST_RUN={secrets.token_hex(8)}"
        name, value = self._mark.split("=")
        code = "from rstar2.cli import main; main()"
        changes = [argument for override in (*ON_A_CLUSTER, *overrides) for argument in ("-s", override)]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                "train",
                "tests/shrunken/recipe.toml",
                "--run",
                self.folder,
                "--cluster",
                "local",
                *changes,
            ],
            cwd=ROOT,
            env={**os.environ, "HOME": str(folder), name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def num_lines(self) -> int:
        path = self.folder / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def processes(self) -> list[psutil.Process]:
        return self._processes_with(self._mark)

    def kill_one(self, is_wanted: Callable[[str], bool]) -> None:
        """SIGKILL the first process whose command line is wanted."""
        for process in self.processes():
            try:
                if is_wanted(" ".join(process.cmdline())):
                    process.send_signal(signal.SIGKILL)
                    return
            except psutil.NoSuchProcess:
                continue
        raise AssertionError("there is no such process")

    def until(self, num_lines: int) -> None:
        while self.num_lines < num_lines:
            assert self.process.poll() is None, f"the run ended early:\n{self.process.communicate()[0]}"
            time.sleep(0.02)

    def finish(self) -> str:
        """Wait for its end, and for that of all its processes; what it printed."""
        output, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, output
        deadline_s = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        assert not left
        return output

    def end(self) -> None:
        """Whatever state it is in."""
        for process in self.processes():
            process.kill()
        self.process.communicate()


@contextmanager
def running(folder: Path, processes_with: ProcessesWith, *overrides: str) -> Iterator[Run]:
    run = Run(folder, processes_with, *overrides)
    try:
        yield run
    finally:
        run.end()


def check_metrics(run: Run) -> None:
    """Every step is there once, and no rollout is missing from any."""
    metrics = run.metrics()
    steps = [(line["phase"], line["step"]) for line in metrics]
    sizes = {"base": 3, "sft": 50, "rl1": RL_STEPS}
    assert steps == [(phase, step + 1) for phase, size in sizes.items() for step in range(size)]
    for line in metrics[NUM_SUPERVISED:]:
        assert line["rollouts"] + line["dropped"] == ROLLOUTS_PER_STEP
        assert line["dropped"] == 0, "an engine or a node that dies costs no rollout"
    assert any(line["calls_per_rollout"] > 0 for line in metrics[NUM_SUPERVISED:])


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_run_survives_the_death_of_each_of_its_parts(tmp_path: Path, processes_with: ProcessesWith) -> None:
    with running(tmp_path, processes_with) as run:
        run.until(5)
        run.kill_one(lambda line: line.startswith("ray::EngineActor"))  # an idle one
        run.until(NUM_SUPERVISED + 1)
        run.kill_one(lambda line: "sandbox serve" in line)
        run.until(NUM_SUPERVISED + 2)
        run.kill_one(lambda line: line.startswith("ray::EngineActor"))
        run.until(NUM_SUPERVISED + 4)
        run.kill_one(lambda line: line.startswith("ray::SandboxActor"))
        run.until(NUM_SUPERVISED + 5)
        run.kill_one(lambda line: line.startswith("ray::RankActor"))
        assert "its parts are built anew" in run.finish()
    check_metrics(run)
    assert not (run.folder / "weights").exists()


@pytest.mark.vllm
@pytest.mark.timeout(1200)
def test_the_recipe_runs_with_vllm_and_survives_its_death(
    tmp_path: Path, processes_with: ProcessesWith
) -> None:
    pytest.importorskip("vllm")
    vllm = ("engine.kind=vllm", "engine.num_engines=1", "model.tiny.head_dim=32", "learner.num_ranks=1")
    with running(tmp_path, processes_with, *vllm) as run:
        run.until(NUM_SUPERVISED + 2)
        run.kill_one(lambda line: line.startswith("ray::EngineActor"))  # its turns wait for the next one
        run.until(NUM_SUPERVISED + 5)
        run.kill_one(lambda line: line.startswith("VLLM::EngineCore"))  # the actor lives, its engine does not
        run.finish()
    check_metrics(run)
    learned = [line for line in run.metrics()[NUM_SUPERVISED:] if "learner_mismatch_kl" in line]
    for line in learned:
        assert abs(line["learner_mismatch_kl"]) < 1e-3, "vLLM writes with the weights that the learner has"
    assert learned
