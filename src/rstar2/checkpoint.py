"""Checkpoints of a run that a kill at any instant cannot spoil.

    folder/.step-00000007.partial/   being written: never read, removed by the next write
    folder/step-00000007/            complete: renamed into place after every byte was flushed to disk
        ...                          whatever the learner's `save` wrote: weights, optimizer
        state.json                   everything else a run must remember, given by the caller
        manifest.json                format, step, SHA-256 of each file above

An older checkpoint is removed only after the newer one is in place, so one that can be read exists at all
times. One process at a time writes a folder. What is in it is not decided here.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar2.errors import CheckpointError

_log = logging.getLogger(__name__)

FORMAT = 2
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
_NAME = re.compile(r"step-\d{8,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint whose every byte was verified."""

    path: Path
    """For `learner.restore`."""
    step: int
    state: dict[str, Any]
    """JSON values, as they were given to `write`."""


def write(
    folder: Path, *, step: int, state: Mapping[str, Any], save: Callable[[Path], None], keep: int = 2
) -> Path:
    """Write the checkpoint of `step` aside, rename it into place, and keep it and the `keep` - 1 before it.

    Those of later steps go too: a run that writes this one passed over them, as they are torn.
    """
    assert keep >= 1
    final = folder / f"step-{step:08d}"  # zeros, so that names sort as numbers
    partial = folder / f".{final.name}.partial"
    with writing(folder):
        for leftover in folder.glob(".step-*.partial"):
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        save(partial)
        if not any(partial.iterdir()):  # written on a machine where this path is another folder
            raise CheckpointError(f"{final} got no weights; give a folder that all machines see")
        (partial / STATE_FILE).write_text(json.dumps(state))
        manifest = {"format": FORMAT, "step": step, "sha256": _hashes(partial)}
        (partial / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1))
        for path in (*partial.rglob("*"), partial):
            _flush(path)
        if final.exists():  # a torn one that `latest` passed over, or the same step of an earlier attempt
            shutil.rmtree(final)
        partial.rename(final)
        _flush(folder)
        kept = names(folder)
        end = kept.index(final.name) + 1
        for other in kept[: max(0, end - keep)] + kept[end:]:
            shutil.rmtree(folder / other)
    return final


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """CheckpointError for a full disk or missing rights; for any file that a run leaves."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error}); check space and rights, then the same command goes on"
        ) from error


def names(folder: Path) -> list[str]:
    """Of all that are there, the torn ones too, by step; the newest comes last.

    A copy that somebody keeps under another name is theirs.
    """
    try:
        found = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(name for name in found if _NAME.fullmatch(name))


def latest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint; None if there is none. Torn ones do not count.

    CheckpointError if the disk fails on the way: what cannot be read now may well be complete.
    """
    for path in (folder / name for name in reversed(names(folder))):
        try:
            found = _read(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if found is not None:
            return found
        _log.warning("%s is torn: it does not count", path)
    return None


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({error}); mend the disk or its rights, then the same command goes on"
    )


def _read(path: Path) -> Checkpoint | None:
    """None if it is torn."""
    if (manifest := _verified_manifest(path)) is None:
        return None
    if manifest["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {manifest['format']}, not {FORMAT}; start a new folder")
    state = json.loads((path / STATE_FILE).read_text())
    return Checkpoint(path=path, step=manifest["step"], state=state)


def _verified_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest, if all that it promises is there to the byte; OSError if that cannot be told."""
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST_FILE).read_text())
        is_complete = manifest["sha256"] == {name: _sha256(path / name) for name in manifest["sha256"]}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):  # missing or cut short
        return None
    return manifest if is_complete else None


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path, of every file below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Force a file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
