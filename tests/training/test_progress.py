import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rstar2 import checkpoint
from rstar2.config import RunConfig
from rstar2.errors import CheckpointError
from rstar2.protocol.template import Template
from rstar2.rollout.placement.lengths import Lengths
from rstar2.telemetry import Window
from rstar2.telemetry.trackers import Trackers
from rstar2.training.progress import Progress
from rstar2.training.state import RunState


def progress(folder: Path, template: Template) -> Progress:
    """Of a run that has come as far as its parts are built."""
    parts = SimpleNamespace(
        config=RunConfig(),
        folder=folder,
        template=template,
        trackers=Trackers(),
        learner=SimpleNamespace(save=save),
        lengths=Lengths(),
    )
    return Progress(parts)  # type: ignore[arg-type]


def save(folder: Path) -> None:
    (folder / "weights").write_text("1234")


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_run_whose_only_checkpoint_is_torn_is_an_error_and_not_a_fresh_start(
    tmp_path: Path, template: Template, damage: str
) -> None:
    progress(tmp_path, template).records.keep_metrics("sft", 1, {"loss": 1.0})
    state = RunState(total_steps=1).to_json()
    weights = checkpoint.write(tmp_path / "checkpoints", step=1, state=state, save=save) / "weights"
    weights.unlink()
    if damage == "changed":
        weights.write_text("1235")
    before = files_below(tmp_path)
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints in .*checkpoints is complete"):
        progress(tmp_path, template).restore()
    assert files_below(tmp_path) == before


def test_files_are_on_the_disk_before_the_checkpoint_that_knows_their_lengths(
    tmp_path: Path, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.readlink(f"/proc/self/fd/{number}")))
    begun = progress(tmp_path, template)
    begun.records.keep_metrics("rl1", 1, {"reward": 1.0})
    begun.records.keep_window("rl1", 1, Window(wall_s=1.0, in_flight={}, shares_s={}))
    asyncio.run(begun.save())
    assert flushed[:2] == [str(tmp_path / "metrics.jsonl"), str(tmp_path / "timeline.jsonl")]
    assert flushed[-1] == str(tmp_path / "checkpoints")
