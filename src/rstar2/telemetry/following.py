"""Reading JSON lines while somebody else writes them: every whole line once, from where it stopped.

A resumed run cuts its files back; whoever follows one then begins anew, and is told so.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_KEPT_BYTES = 64
"""Of the end of what was read: if they are not there any more, the file was cut back and has grown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file, and where it stands."""

    record: dict[str, Any]
    begin: int
    end: int
    """Offsets in bytes, the newline included."""


class Follower:
    """Reads what is new in a file, from byte `begin` on; a file that does not exist is empty."""

    def __init__(self, path: Path, *, begin: int = 0) -> None:
        self.path = path
        self._position = begin
        self._last_bytes = b""

    def new_lines(self, *, on_cut_back: Callable[[], object]) -> Iterator[Line]:
        """Whole lines since the last call; if the file was cut back, `on_cut_back` and then all of them."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position - len(self._last_bytes))
            if file.read(len(self._last_bytes)) != self._last_bytes:
                on_cut_back()
                file.seek(0)
                self._position, self._last_bytes = 0, b""
            for line in file:
                if not line.endswith(b"\n"):
                    return
                begin, self._position = self._position, self._position + len(line)
                self._last_bytes = line[-_MOST_KEPT_BYTES:]
                yield Line(record=json.loads(line), begin=begin, end=self._position)
