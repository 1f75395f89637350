import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rstar2.checkpoint import latest, write
from rstar2.errors import CheckpointError


def save_text(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "nested").mkdir()
        (folder / "nested" / "weights.bin").write_text(text)

    return save


def checkpoint(folder: Path, step: int, keep: int = 2) -> Path:
    return write(folder, step=step, state={"consumed": ["a", "b"]}, save=save_text(f"w{step}"), keep=keep)


def test_the_newest_complete_checkpoint_is_found_with_its_state(tmp_path: Path) -> None:
    for step in (9, 10):
        checkpoint(tmp_path / "run", step)
    found = latest(tmp_path / "run")
    assert found is not None
    assert (found.step, found.state) == (10, {"consumed": ["a", "b"]})
    assert (found.path / "nested" / "weights.bin").read_text() == "w10"


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path / "never") is None


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        checkpoint(tmp_path, step, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_what_was_just_written_stays_though_a_torn_one_of_a_later_step_is_there(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 20, keep=1) / "state.json").unlink()
    written = checkpoint(tmp_path, 5, keep=1)
    assert [*tmp_path.iterdir()] == [written]
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 5


def test_a_copy_under_a_name_of_its_own_is_neither_resumed_from_nor_removed(tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint(tmp_path, 100), tmp_path / "step-best")
    checkpoint(tmp_path, 150, keep=1)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 150
    assert (copy / "state.json").exists()


@pytest.mark.parametrize("victim", ["manifest.json", "state.json", "nested/weights.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "changed"])
def test_a_torn_checkpoint_does_not_count(tmp_path: Path, victim: str, damage: str) -> None:
    checkpoint(tmp_path, 1)
    path = checkpoint(tmp_path, 2) / victim
    content = path.read_bytes()
    path.unlink()
    if damage == "cut short":
        path.write_bytes(content[:-1])
    elif damage == "changed":
        path.write_bytes(b"[" + content[1:])
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_torn_checkpoint_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint(tmp_path, 1)
    (checkpoint(tmp_path, 2) / "state.json").unlink()
    with caplog.at_level(logging.WARNING):
        latest(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'step-00000002'} is torn: it does not count"
    ]


@pytest.mark.parametrize("victim", ["manifest.json", "state.json", "nested/weights.bin"])
def test_a_disk_that_fails_is_an_error_as_the_newest_checkpoint_may_be_complete(
    tmp_path: Path, victim: str
) -> None:
    checkpoint(tmp_path, 1)
    path = checkpoint(tmp_path, 2) / victim
    path.unlink()
    path.symlink_to("/proc/self/mem")  # every read of its first bytes is an EIO
    with pytest.raises(CheckpointError, match=r"step-00000002 cannot be read .*Input/output error"):
        latest(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    folder = tmp_path / "loop"
    folder.symlink_to(folder)
    with pytest.raises(CheckpointError, match="loop cannot be read"):
        latest(folder)


def test_a_torn_checkpoint_is_replaced_when_the_run_gets_there_again(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 1) / "state.json").unlink()
    checkpoint(tmp_path, 1)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_another_format_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    with pytest.raises(CheckpointError, match="format 0"):
        latest(tmp_path)


def test_a_failing_disk_is_a_checkpoint_error_and_leaves_the_previous_one(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "weights.bin").write_text("w")
        raise OSError("no space left on device")

    checkpoint(tmp_path, 1)
    with pytest.raises(CheckpointError, match="no space"):
        write(tmp_path, step=2, state={}, save=full)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    checkpoint(tmp_path, 2)
    assert not list(tmp_path.glob(".*")), "the next write clears what the failed one left"


@pytest.mark.parametrize("name", [".step-00000001.partial", "step-00000001"])
def test_what_cannot_be_removed_is_a_checkpoint_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a file, where every other name is a folder")
    with pytest.raises(CheckpointError, match=r"could not be written .*; check space and rights"):
        checkpoint(tmp_path, 2, keep=1)


def test_a_learner_that_saves_elsewhere_is_an_error_and_no_checkpoint_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder that all machines see"):
        write(tmp_path, step=1, state={}, save=lambda _: None)
    assert latest(tmp_path) is None


WRITER = """
import sys
from pathlib import Path
from rstar2.checkpoint import write
folder = Path(sys.argv[1])
def save(path):
    for name in "abc":
        (path / name).write_bytes(bytes(200_000))
for step in range(1, 10_000):
    write(folder, step=step, state={"step": step}, save=save)
    print(step, flush=True)
"""


def test_a_kill_at_any_instant_leaves_a_usable_checkpoint(tmp_path: Path) -> None:
    """A real process, really killed, at instants that move through the cycle of writing."""
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            done = int(child.stdout.readline())
            for _ in range(attempt):
                done = int(child.stdout.readline())
            try:
                child.wait(timeout=0.002 * attempt)
            except subprocess.TimeoutExpired:
                os.kill(child.pid, signal.SIGKILL)
        found = latest(folder)
        assert found is not None
        assert found.step >= done
        assert found.state == {"step": found.step}
        assert child.returncode == -signal.SIGKILL
