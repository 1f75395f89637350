"""Weights through a file system that both sides see."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rstar2.errors import CheckpointError


class FolderChannel:
    """One folder per version below `folder`: one writer, visible only when complete, verified when read."""

    WEIGHTS = "weights.safetensors"
    CHECKSUM = "weights.sha256"

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where a process that shares the file system opens this channel anew."""
        return self._folder

    def put(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """CheckpointError if they cannot be written."""
        try:
            self._write(self._path(version), weights)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"weights cannot be written to {self._folder} ({error}); check space and rights"
            ) from error

    def get(self, version: int) -> Mapping[str, Tensor]:
        path = self._path(version)
        try:
            if _sha256(path / self.WEIGHTS) != self.checksum(version):
                raise CheckpointError(f"{path} is damaged; publish version {version} again")
            weights: dict[str, Tensor] = load_file(path / self.WEIGHTS)
            return weights
        except FileNotFoundError:
            raise CheckpointError(f"{path} is gone; adopt a later version") from None

    def checksum(self, version: int) -> str:
        """Of the weights as they were published; CheckpointError if the version is gone."""
        path = self._path(version)
        try:
            return (path / self.CHECKSUM).read_text()
        except FileNotFoundError:
            raise CheckpointError(f"{path} is gone; adopt a later version") from None

    def clear(self) -> None:
        """Remove all versions, and the folder unless others have something in it; what resists stays."""
        for path in (*self._folder.glob("version-*"), *self._folder.glob(".version-*.partial")):
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _write(self, final: Path, weights: Mapping[str, Tensor]) -> None:
        for leftover in self._folder.glob(".version-*.partial"):  # of a writer that was killed
            shutil.rmtree(leftover)
        partial = final.with_name(f".{final.name}.partial")
        partial.mkdir()
        # safetensors wants dense tensors; clones also part those that share memory.
        save_file(
            {name: t.detach().clone().contiguous() for name, t in weights.items()}, partial / self.WEIGHTS
        )
        (partial / self.CHECKSUM).write_text(_sha256(partial / self.WEIGHTS))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        versions = sorted(self._folder.glob("version-*"))
        newest = versions.index(final) + 1  # what lies above is of a run that has gone back to a checkpoint
        for old in versions[: max(0, newest - self._keep)] + versions[newest:]:
            shutil.rmtree(old)

    def _path(self, version: int) -> Path:
        return self._folder / f"version-{version:08d}"  # zeros, so that names sort as numbers


@contextmanager
def passing_through(folder: Path) -> Iterator[FolderChannel]:
    """A channel that leaves nothing behind if all goes well; else the next one of this folder sees to it."""
    channel = FolderChannel(folder)
    yield channel
    channel.clear()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
