"""A folder that one process at a time may write: a command that is given twice spoils nothing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rstar2.errors import InputError

LOCK = ".lock"
"""An empty file that stays; the lock on it is the kernel's, and ends with its holder however that ends."""


@contextmanager
def alone_in(folder: Path, *, deed: str, option: str) -> Iterator[None]:
    """InputError if another process does the same deed there; who only reads asks nobody.

    The folder is made for it, and removed again if nothing was written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written ({error}): give another {option}") from error
    with lock:
        _take(lock.fileno(), folder, deed, option)
        try:
            yield
        finally:
            _leave_nothing_else(folder)


def _take(lock: int, folder: Path, deed: str, option: str) -> None:
    """By `lockf`: a lock of `flock` would be shared with forked children, and live on in an orphan."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process {deed} '{folder}': wait for it or end it, or give another {option}"
        ) from None
    except OSError as error:  # some file systems know no locks
        raise InputError(f"'{folder}' cannot be locked ({error}): give another {option}") from error


def _leave_nothing_else(folder: Path) -> None:
    """If the lock is all that there is."""
    with suppress(OSError):  # somebody removed the folder
        if os.listdir(folder) == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
