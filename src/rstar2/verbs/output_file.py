"""Whether a result can be written where the user wants it: said before the work, not after hours of it."""

import os
from pathlib import Path

from rstar2.errors import InputError


def check_writable(path: Path, *, option: str) -> None:
    """InputError unless a file can be written there; nothing is made yet."""
    if not path.parent.is_dir():
        raise InputError(f"the folder of '{path}' does not exist: make it, or give another {option}")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give {option} the name of a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"'{path}' may not be written: change its rights, or give another {option}")
