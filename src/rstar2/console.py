"""What a person sees in the terminal: progress bars, tables, code, results; readable in 80 columns.

Text of a model or of its programs is printed as text: no markup, no names of emoji, no escape sequences.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.syntax import Syntax
from rich.table import Table

from rstar2.evaluation.headline import COLUMNS, cells

console = Console(highlight=False, markup=False, emoji=False)


class BarWatcher:
    """A `Watcher` with one rich progress bar that is reused for every piece of work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=1)

    def begin(self, label: str, total: int) -> None:
        self._progress.reset(self._task, description=label, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def line(self, text: str) -> None:
        self._progress.console.print(text)


@contextmanager
def progress_bar() -> Iterator[BarWatcher]:
    """A bar below whatever is printed; it disappears at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield BarWatcher(progress)


def summary_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line per phase."""
    table = plain_table()
    for column in COLUMNS:
        table.add_column(column.title, justify="left" if column.key == "name" else "right")
    for row in rows:
        table.add_row(*cells(row))
    return table


def plain_table() -> Table:
    """As narrow as its contents allow."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def show_text(text: str, *, style: str = "") -> None:
    console.print(printable(text), style=style)


def show_code(code: str) -> None:
    """Python, coloured and indented."""
    syntax = Syntax(printable(code), "python", theme="ansi_dark", background_color="default", word_wrap=True)
    console.print(Padding(syntax, (0, 0, 0, 4)))


def show_result(text: str, *, is_error: bool) -> None:
    """What a tool call gave, indented behind a bar."""
    for line in printable(text).splitlines() or ["(nothing)"]:
        console.print(f"  | {line}", style="red" if is_error else "green")


def printable(text: str) -> str:
    """The text with every control character but newline and tab made visible: none can steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
