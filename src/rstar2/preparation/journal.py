"""What a served model said, one line per question, kept from the moment it was said.

Every line is whole or is not there: a torn last one, which a kill may leave, is cut off on opening, and what
stood in one that the disk has damaged is asked again. The file is named by what was asked of whom, so other
settings do not see it, and find it again when they are set back.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

log = logging.getLogger(__name__)


class Journal:
    """A growing file of JSON objects by id; use as a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._read()
        self._file = self._path.open("a", encoding="utf-8", errors="replace")  # of halves of surrogate pairs
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._known[key]

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Written before this returns: a killed process loses none of it."""
        self._file.write(json.dumps({"id": key, **record}, ensure_ascii=False) + "\n")
        self._file.flush()
        self._known[key] = record

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        lines = whole.splitlines()
        records = [record for line in lines if (record := _record(line)) is not None]
        self._known = {record["id"]: record for record in records}
        if num_damaged := len(lines) - len(records):
            log.warning("%s: %d damaged lines; what they held is asked again", self._path, num_damaged)


def _record(line: bytes) -> Mapping[str, Any] | None:
    """None of a line that no journal has written."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None
