"""What `rstar2 train` does with a run that is there already, and when the learner is lost."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rstar2.config import RunConfig, load_config, parse_config
from rstar2.console import console
from rstar2.errors import ConfigError, InputError, LearnerError
from rstar2.telemetry import JsonLines
from rstar2.training.parts import SilentWatcher
from rstar2.verbs import train


def lose_learner(monkeypatch: pytest.MonkeyPatch, folder: Path, *, writes: list[str | None]) -> list[int]:
    """Attempts that each write a checkpoint or none, and then lose the learner; the last one succeeds."""
    attempts: list[int] = []

    async def attempt(*_: Any) -> dict[str, Any]:
        attempts.append(len(attempts))
        if len(attempts) > len(writes):
            return {"stages": []}
        if name := writes[len(attempts) - 1]:
            (folder / "checkpoints" / name).mkdir(parents=True)
        raise LearnerError("learner rank 1 of 2 ended")

    monkeypatch.setattr(train, "_train", attempt)
    return attempts


def test_a_lost_learner_is_built_anew_as_long_as_checkpoints_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attempts = lose_learner(
        monkeypatch, tmp_path, writes=["step-00000001", None, None, "step-00000002", None]
    )
    train._train_to_the_end(RunConfig(), tmp_path, SilentWatcher(), None)
    assert len(attempts) == 6


def test_a_learner_that_is_lost_again_and_again_is_given_up_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attempts = lose_learner(monkeypatch, tmp_path, writes=[None] * 9)
    with pytest.raises(
        LearnerError, match="given up after 3 restarts without a new checkpoint: learner rank 1"
    ):
        train._train_to_the_end(RunConfig(), tmp_path, SilentWatcher(), None)
    assert len(attempts) == 4


def go_on(monkeypatch: pytest.MonkeyPatch, folder: Path, config: RunConfig, *, accept: bool = False) -> str:
    """Begin the run of this config, or go on with it, up to its first step; what is on the console."""

    @asynccontextmanager
    async def parts(*_: Any, **__: Any) -> AsyncIterator[None]:
        yield

    class Stopped:
        def __init__(self, _: None) -> None: ...

        async def go(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "training_parts", parts)
    monkeypatch.setattr(train, "TrainingRun", Stopped)
    with console.capture() as shown, pytest.raises(KeyboardInterrupt):
        train.run_training(config, folder, accept_changes=accept)
    return shown.get()


def test_a_run_goes_on_with_machines_and_trackers_that_are_others_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "goes on" not in go_on(monkeypatch, tmp_path, RunConfig())
    assert "goes on" not in go_on(monkeypatch, tmp_path, RunConfig())
    now = parse_config({"tracking": {"sinks": ["tensorboard"]}, "engine": {"num_engines": 2}})
    line = 'goes on with engine.num_engines = 2 (was 1), tracking.sinks = ["tensorboard"] (was [])'
    assert line in go_on(monkeypatch, tmp_path, now).splitlines()
    assert load_config(tmp_path / "config.toml") == now
    assert "goes on" not in go_on(monkeypatch, tmp_path, now)


def test_a_run_learns_otherwise_only_if_that_is_accepted_and_notes_since_when(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go_on(monkeypatch, tmp_path, RunConfig())
    (tmp_path / "checkpoints" / "step-00000007").mkdir(parents=True)
    now = parse_config({"learner": {"bf16": True}, "sandbox": {"workers": 2}})
    wanted = r"learns otherwise: learner\.bf16 = true \(was false\): give --accept-changes"
    with pytest.raises(ConfigError, match=wanted):
        train.run_training(now, tmp_path)
    assert load_config(tmp_path / "config.toml") == RunConfig(), "what is refused leaves all as it was"
    assert not (tmp_path / "changes.jsonl").exists()
    shown = go_on(monkeypatch, tmp_path, now, accept=True)
    assert "goes on with learner.bf16 = true (was false), sandbox.workers = 2 (was 4)" in shown
    assert load_config(tmp_path / "config.toml") == now
    go_on(monkeypatch, tmp_path, now)
    changed = {"learner.bf16": [False, True], "sandbox.workers": [4, 2]}
    assert list(JsonLines(tmp_path / "changes.jsonl")) == [{"after": "step-00000007", "changed": changed}]


@pytest.mark.parametrize("accept_changes", [False, True])
def test_another_run_is_refused_by_the_keys_that_differ_and_no_flag_helps(
    tmp_path: Path, accept_changes: bool
) -> None:
    train._claim(tmp_path, RunConfig())
    another = parse_config({"run": {"seed": 1}, "sft": {"lr": 1e-4}, "sandbox": {"workers": 2}})
    with pytest.raises(ConfigError) as refusal:
        train.run_training(another, tmp_path, accept_changes=accept_changes)
    assert str(refusal.value) == (
        f"'{tmp_path}' holds a run with another config: run.seed = 1 (was 0), sft.lr = 0.0001 (was 0.001): "
        "give another --run folder, or delete this one"
    )


def test_of_many_differences_the_first_are_named(tmp_path: Path) -> None:
    train._claim(tmp_path, RunConfig())
    another = parse_config(
        {
            "protocol": {"system": "x" * 500, "user": "{question}"},
            "pretraining": {"steps": 1, "seed": 1, "num_problems": 7},
            "sft": {"steps": 1, "samples_per_step": 1, "decay": "cosine"},
            "roc": {"mode": "off", "epsilon": 1.0},
        }
    )
    with pytest.raises(ConfigError, match=r"and 2 more: give another --run") as refusal:
        train.run_training(another, tmp_path)
    assert len(str(refusal.value)) < 800


def test_a_run_that_another_process_trains_is_refused_and_left_as_it_is(
    another_process_in: Callable[[Path], AbstractContextManager[Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    attempts = lose_learner(monkeypatch, tmp_path, writes=[])
    refused = pytest.raises(InputError, match=f"another process trains in '{tmp_path}': wait for it")
    with another_process_in(tmp_path), refused:
        train.run_training(RunConfig(), tmp_path)
    assert attempts == []


def test_the_parts_of_a_run_get_its_folder_as_a_path_that_means_the_same_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Path] = []

    @asynccontextmanager
    async def note(_: RunConfig, folder: Path, *__: Any, **___: Any) -> AsyncIterator[None]:
        given.append(folder)
        raise InputError("no more is needed")
        yield

    monkeypatch.setattr(train, "training_parts", note)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no more"):
        train.run_training(RunConfig(), Path("runs/small"))
    assert given == [tmp_path / "runs" / "small"]
