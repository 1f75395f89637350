"""Two real processes at one folder: the second is refused, and a killed one leaves no lock."""

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rstar2.errors import InputError
from rstar2.verbs.alone import alone_in

Holder = Callable[[Path], AbstractContextManager["subprocess.Popen[bytes]"]]


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_ended(
    another_process_in: Holder, tmp_path: Path
) -> None:
    with another_process_in(tmp_path) as holder:
        with (
            pytest.raises(InputError, match=r"another process trains in .*: wait for it or end it"),
            alone_in(tmp_path, deed="trains in", option="--run"),
        ):
            pass
        holder.kill()
        holder.wait()
        with alone_in(tmp_path, deed="trains in", option="--run"):
            (tmp_path / "result").touch()
    assert (tmp_path / "result").exists()


def test_a_folder_in_which_nothing_was_written_is_removed_again(tmp_path: Path) -> None:
    with alone_in(tmp_path / "runs" / "mine", deed="trains in", option="--run"):
        assert (tmp_path / "runs" / "mine").is_dir()
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_folder_that_cannot_be_made_is_an_input_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot be written .*: give another --run"),
        alone_in(tmp_path / "file" / "run", deed="trains in", option="--run"),
    ):
        pass
