"""What a person sees in the terminal: progress bars, lines, tables, sample rollouts."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from rstar2.config import RunConfig, dump_config, load_config
from rstar2.errors import ConfigError

console = Console(highlight=False)

COLUMNS = (
    ("pass_at_1", "pass@1", "{:.1%}"),
    ("tool_error_rate", "tool errors", "{:.1%}"),
    ("tool_error_rate_correct", "in right ones", "{:.1%}"),
    ("calls_per_rollout", "calls", "{:.2f}"),
    ("tokens_per_rollout", "tokens", "{:.0f}"),
    ("clip_ratio", "cut off", "{:.1%}"),
    ("wall_s", "time", "{:.0f} s"),
)


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


def run_training(config: RunConfig, folder: Path) -> None:
    """Train in `folder`; refuses to go on with a run that was started with another config."""
    _claim(folder, config)
    from rstar2.assemble import training_parts
    from rstar2.training.run import TrainingRun

    async def go(watcher: BarWatcher) -> dict[str, Any]:
        async with training_parts(config, folder, watcher) as parts:
            return await TrainingRun(parts).go()

    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bars, console=console, transient=True) as progress:
        summary = asyncio.run(go(BarWatcher(progress)))
    console.print(summary_table(summary["stages"]))


def summary_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line per phase."""
    table = Table(title=None)
    table.add_column("phase")
    table.add_column("steps", justify="right")
    for _, title, _ in COLUMNS:
        table.add_column(title, justify="right")
    for row in rows:
        cells = (pattern.format(row[key]) for key, _, pattern in COLUMNS)
        table.add_row(row["name"], str(row["steps"]), *cells)
    return table


def print_findings() -> None:
    from rstar2.doctor import examine

    for finding in examine():
        mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
        console.print(f"{mark} {finding.name}: {finding.found}" + ("" if finding.ok else f"\n   {finding.remedy}"))


def _claim(folder: Path, config: RunConfig) -> None:
    """Create the run's folder with its config, or check that it is the same run."""
    path = folder / "config.toml"
    if path.exists():
        if load_config(path) != config:
            raise ConfigError(
                f"'{folder}' holds a run with another config: give another --run folder, or delete this one"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_config(config), encoding="utf-8")
