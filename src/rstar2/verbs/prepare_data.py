"""`rstar2 data prepare`: the paper's training data from its sources, and how many each filter left."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.table import Table

from rstar2.bearer_token import read_token
from rstar2.config import PreparationConfig, ServedModelSection
from rstar2.console import console, plain_table, progress_bar
from rstar2.evaluation.benchmarks import benchmark, problems_of
from rstar2.preparation import Job, Manifest, Progress, SourceCount, prepare
from rstar2.preparation.served_model import ServedModel
from rstar2.verbs.alone import alone_in


def prepare_data(config: PreparationConfig, folder: Path) -> None:
    """Make what is not there yet in `folder`, and print the counts."""
    with alone_in(folder, deed="prepares", option="--to"), progress_bar() as progress:
        manifest = asyncio.run(_prepare(config, folder, progress))
    show_manifest(manifest, config)
    console.print(f"The files are in {folder}.", soft_wrap=True)


async def _prepare(config: PreparationConfig, folder: Path, progress: Progress) -> Manifest:
    section = config.benchmarks
    benchmarks = {name: problems_of(benchmark(name), section.files.get(name, ())) for name in section.names}
    async with (
        _served(config.label_check, "label_check") as checker,
        _served(config.rewriting, "rewriting") as writer,
    ):
        job = Job(
            config=config,
            folder=folder,
            benchmarks=benchmarks,
            progress=progress,
            checker=checker,
            writer=writer,
        )
        return await prepare(job)


@asynccontextmanager
async def _served(section: ServedModelSection, name: str) -> AsyncIterator[ServedModel | None]:
    """None where no URL is given."""
    if not section.url:
        yield None
        return
    file = section.token_file
    token = read_token(file, setting=f"{name}.token_file") if file else ""
    async with ServedModel(section, token=token) as model:
        yield model


def show_manifest(manifest: Manifest, config: PreparationConfig) -> None:
    """Two tables of sources beside the paper's counts, each with what its filters dropped."""
    for title, counts, paper in (
        ("conversations", manifest.conversations, config.paper_conversations),
        ("problems", manifest.problems, config.paper_problems),
    ):
        if counts:
            console.print(_sources_table(title, counts, paper))
            console.print()
        if any(count.num_kept < count.num_rows for count in counts):
            console.print(_filters_table(counts))
            console.print()
    for remark in manifest.remarks:
        console.print(remark, style="yellow", soft_wrap=True)


def _sources_table(title: str, counts: Sequence[SourceCount], paper: int) -> Table:
    table = plain_table()
    table.add_column(title)
    for column in ("rows", "kept", "paper"):
        table.add_column(column, justify="right")
    table.add_column("licence")
    for count in counts:
        table.add_row(count.name, *_numbers(count.num_rows, count.num_kept, count.paper), count.licence)
    table.add_section()
    in_all = sum(count.num_rows for count in counts), sum(count.num_kept for count in counts)
    table.add_row("in all", *_numbers(*in_all, paper))
    return table


def _filters_table(counts: Sequence[SourceCount]) -> Table:
    """Of the filters that dropped something."""
    table = plain_table()
    table.add_column("source")
    table.add_column("filter")
    for column in ("before", "dropped", "left"):
        table.add_column(column, justify="right")
    for count in counts:
        for filtered in count.filters:
            if dropped := filtered.num_before - filtered.num_after:
                numbers = (filtered.num_before, dropped, filtered.num_after)
                table.add_row(count.name, filtered.name, *(f"{number:,}" for number in numbers))
    return table


def _numbers(num_rows: int, num_kept: int, paper: int) -> tuple[str, str, str]:
    return f"{num_rows:,}", f"{num_kept:,}", f"{paper:,}" if paper else ""
