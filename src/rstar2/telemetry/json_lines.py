"""Numbers and rollouts on disk: one JSON object per line, readable by anything, safe to cut back.

A file knows its length; a checkpoint records it, and a resumed run cuts the file back to that length,
so that no step is ever counted twice. It is flushed to the disk before: a checkpoint never knows of more than
a power cut leaves. Metrics never steer behaviour.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class JsonLines:
    """An append-only file of JSON objects."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; a kill in the middle leaves at most one torn line at the end."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    @property
    def num_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def flush_to_disk(self) -> None:
        """Until then a power cut may take back what was appended."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def cut_back(self, num_bytes: int) -> None:
        """Forget everything after `num_bytes`; of a file that lost more than that, a torn last line."""
        if self.num_bytes > num_bytes:
            os.truncate(self.path, num_bytes)
        elif self.path.exists() and self.num_bytes < num_bytes:
            os.truncate(self.path, self._num_whole_bytes())

    def _num_whole_bytes(self) -> int:
        """Without a torn last line."""
        with self.path.open("rb") as file:
            return sum(len(line) for line in file if line.endswith(b"\n"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole line; a torn last line is left out."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
