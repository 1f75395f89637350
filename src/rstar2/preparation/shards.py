"""Files that are made once: whole or not there, and known by what they were made of.

A shard is a JSONL file and a note beside it, `NAME.json`, that is written last: as long as one of the two is
missing, or the note tells of other ingredients, the shard is made anew.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from rstar2.config import Section, SourceSection
from rstar2.preparation.manifest import SourceCount

FORMAT = 4
"""Of shards; a change of the code that changes their content changes it, too."""


def fingerprint(*ingredients: Section | str | int) -> str:
    """16 hex digits over everything that a shard depends on; of a local file, its size and time."""
    parts = []
    for part in ingredients:
        parts.append(part.model_dump_json() if isinstance(part, Section) else str(part))
        if isinstance(part, SourceSection) and part.path and Path(part.path).exists():
            stat = Path(part.path).stat()
            parts.append(f"{stat.st_size}/{stat.st_mtime_ns}")
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


class Shard:
    """One source, cleaned."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._note = path.with_suffix(".json")

    def count(self, made_of: str) -> SourceCount | None:
        """What making it from these ingredients counted; None if it was not made from them."""
        try:
            note: Any = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or not self._path.exists():
            return None
        is_same = (note.get("format"), note.get("made_of")) == (FORMAT, made_of)
        return SourceCount.from_json(note["count"]) if is_same else None

    def write(self, lines: Iterable[str], count: SourceCount, *, made_of: str) -> None:
        """Replace it; a kill at any instant leaves the old shard, or none that counts."""
        self._note.unlink(missing_ok=True)
        write_whole(self._path, lines)
        write_whole(
            self._note, [json.dumps({"format": FORMAT, "made_of": made_of, "count": count.as_json()})]
        )

    def __iter__(self) -> Iterator[str]:
        """Its lines, without their ends."""
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                yield line.rstrip("\n")


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Written aside, flushed to the disk and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8", errors="replace") as file:  # of halves of surrogate pairs
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def write_unless_empty(path: Path, lines: Sequence[str]) -> None:
    """No lines are no file: a run then says that it is missing, instead of finding nothing in it."""
    if lines:
        write_whole(path, lines)
    else:
        path.unlink(missing_ok=True)
