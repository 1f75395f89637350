"""Rows of data files and hub data sets, one after the other, each with the place it came from.

Nothing is interpreted here: a JSONL line stays bytes, so that whoever reads it may skip a broken one.
Large files are streamed.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rstar2.errors import DataError

Row = bytes | Mapping[str, object]
"""A JSON line not yet read, or named columns."""

HUB = "hf:"

_LONGEST_FIELD_CHARS = 2**31 - 1
"""Of CSV; csv's own limit, 131,072, would end the reading of a file at one long text."""

_UNREADABLE = (OSError, ValueError, OverflowError, KeyError, NotImplementedError, csv.Error)
"""Of files: pyarrow's complaints are ValueErrors or NotImplementedErrors; a date that Python does not have is
an OverflowError, such a time zone a KeyError."""


def read_rows(source: str, columns: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row of `x.jsonl`, `x.csv`, `x.parquet` or `hf:OWNER/NAME[:SPLIT[:CONFIG]]`.

    With `columns`, nothing but these is read of parquet; the hub's is then streamed. So a column that nobody
    asked for takes no time, and does not end the reading where Python has no type for what it holds.
    """
    if source.startswith(HUB):
        yield from _hub_rows(source, columns)
        return
    reader = _READERS.get(Path(source).suffix)
    if reader is None:
        raise DataError(
            f"{source} is neither *.jsonl nor *.parquet nor *.csv nor {HUB}OWNER/NAME; convert or rename it"
        )
    try:
        yield from reader(source, columns)
    except _UNREADABLE as error:
        raise DataError(f"{source} cannot be read: {error}; check the path and the file") from error


def source_name(source: str) -> str:
    """Short name of a source: the file's stem, or the data set's name without its owner."""
    if source.startswith(HUB):
        return source.removeprefix(HUB).split(":")[0].rpartition("/")[2]
    return Path(source).stem


def _jsonl_rows(source: str, _: Sequence[str]) -> Iterator[tuple[str, Row]]:
    with open(source, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{source}, line {number}", line


def _csv_rows(source: str, _: Sequence[str]) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(_LONGEST_FIELD_CHARS)
    with open(source, encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=1):
            yield f"{source}, row {number}", row


def _parquet_rows(source: str, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet

    number = 0
    with pyarrow.parquet.ParquetFile(source) as file:
        there = file.schema_arrow.names
        if missing := [column for column in columns if column not in there]:
            raise DataError(
                f"{source} has no column {missing[0]!r} (there is {', '.join(map(repr, there))}); "
                "map the field to another column, or take it out of the source's columns"
            )
        for batch in file.iter_batches(columns=list(columns) or None):
            for row in batch.to_pylist():
                number += 1
                yield f"{source}, row {number}", row


def _hub_rows(source: str, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source} needs the datasets library; run `pip install rstar2[hub]`") from error
    name, split, config, *_ = [*source.removeprefix(HUB).split(":"), "", ""]
    part = {"columns": list(columns), "streaming": True} if columns else {}
    try:
        rows = datasets.load_dataset(name, config or None, split=split or "train", **part)
        for number, row in enumerate(rows, start=1):  # streamed rows are fetched here
            yield f"{source}, row {number}", row
    except Exception as error:  # dozens of types; whichever it is, the data set could not be had
        raise DataError(f"{source} cannot be loaded: {error}; check name, split and config") from error


_READERS: Mapping[str, Callable[[str, Sequence[str]], Iterator[tuple[str, Row]]]] = {
    ".jsonl": _jsonl_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
