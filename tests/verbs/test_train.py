"""What `rstar2 train` does with a run that is there already, and when the learner is lost."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rstar2.config import RunConfig, parse_config
from rstar2.errors import ConfigError, InputError, LearnerError
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


def test_a_run_goes_on_with_other_trackers_and_with_no_other_change(tmp_path: Path) -> None:
    train._claim(tmp_path, RunConfig())
    train._refuse_another_run(tmp_path, parse_config({"tracking": {"sinks": ["tensorboard"]}}))
    with pytest.raises(ConfigError, match="another config"):
        train._refuse_another_run(tmp_path, parse_config({"run": {"seed": 1}}))


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
