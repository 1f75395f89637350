"""A row of a data set, read strictly: whoever asks for a column gets it in the type it must have.

A column that is missing or of another type means that the file is not what it is taken for, and ends the
preparation with a sentence that names row and column. What a column holds is judged elsewhere.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rstar2.config import SourceSection
from rstar2.errors import DataError
from rstar2.problems.rows import HUB, read_rows


@dataclass(frozen=True, slots=True)
class Columns:
    """One row, or an object within one."""

    place: str
    """For messages: file, number, path within the row."""
    values: Mapping[str, Any]

    def text(self, path: str) -> str:
        """The text at a dotted path."""
        value = self._at(path)
        if not isinstance(value, str):
            raise self._misfit(path, value, "text")
        return _as_unicode(value)

    def label(self, path: str) -> str:
        """Text, or an integer written out; empty where there is none."""
        value = self._at(path)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self._misfit(path, value, "text or an integer")
        return _as_unicode(value).strip()

    def entries(self, path: str) -> list["Columns"]:
        """The objects in the list at a dotted path."""
        value = self._at(path)
        if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
            raise self._misfit(path, value, "a list of objects")
        return [Columns(f"{self.place}, {path}[{n}]", entry) for n, entry in enumerate(value)]

    def has_text(self, path: str) -> bool:
        """Whether the column holds text; others of its type may stand there instead."""
        return isinstance(self._at(path), str)

    def _at(self, path: str) -> Any:
        value: Any = self.values
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                there = ", ".join(map(repr, value)) if isinstance(value, Mapping) else type(value).__name__
                raise DataError(
                    f"{self.place} has no column {path!r} (there is {there}): give a file of the format that "
                    "the source names, or mend the source"
                )
            value = value[key]
        return value

    def _misfit(self, path: str, value: object, wanted: str) -> DataError:
        return DataError(
            f"{self.place}: column {path!r} is {value!r:.60}, not {wanted}: give a file of the format that "
            "the source names, or mend the row"
        )


def rows_of(source: SourceSection) -> Iterator[Columns]:
    """All rows of a source, those that its `only` passes over included."""
    origin = source.path or HUB + source.hub
    for place, row in read_rows(origin, source.columns):
        yield Columns(place, _object(row, place) if isinstance(row, bytes) else row)


def is_wanted(row: Columns, source: SourceSection) -> bool:
    """Whether its columns hold what `only` says."""
    return all(row.label(column) == text for column, text in source.only.items())


def _object(line: bytes, place: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # the second of brackets nested too deep
        raise DataError(f"{place} is not JSON ({error}): mend or delete the line") from error
    if not isinstance(value, dict):
        raise DataError(f"{place} is JSON but no object: write one {{...}} per line")
    return value


def _as_unicode(text: str) -> str:
    """Halves of surrogate pairs, which JSON can spell and no file can carry, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
