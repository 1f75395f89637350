"""The results as a page for people (Markdown with pictures) and as numbers for programs (JSON)."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rstar2.reproduction.arms import BASELINE
from rstar2.reproduction.claims import FEWEST_SEEDS, claims
from rstar2.reproduction.contrasts import (
    ByArm,
    Cell,
    Measure,
    cell,
    difference,
    first_and_last_stage,
    measures,
    paired,
)


def write_page(
    page: Path, outcomes: ByArm, titles: Mapping[str, str], *, command: str, pictures: Sequence[Path]
) -> None:
    """Write `page` and, beside it, its numbers as .json; `titles` are those of the arms, in their order."""
    columns = measures(outcomes)
    page.write_text("\n".join(_lines(outcomes, titles, columns, command, pictures)) + "\n", encoding="utf-8")
    page.with_suffix(".json").write_text(json.dumps(_numbers(outcomes, columns), indent=1) + "\n")


def _lines(
    outcomes: ByArm,
    titles: Mapping[str, str],
    columns: Sequence[Measure],
    command: str,
    pictures: Sequence[Path],
) -> Iterator[str]:
    seeds = sorted({outcome.trial.seed for trials in outcomes.values() for outcome in trials})
    yield "# The paper's claims in miniature"
    yield ""
    yield f"Made by `{command}` on {os.cpu_count()} cores ({platform.machine()})."
    yield f"Seeds: {', '.join(map(str, seeds))}; mean and standard deviation over seeds."
    yield ""
    yield "## What holds"
    yield ""
    yield "A claim holds, or does not, if the 95 % interval over seeds lies wholly on that side;"
    yield f"it is open otherwise, and with fewer than {FEWEST_SEEDS} seeds."
    yield "Intervals are Student's, of differences paired by seed: a percentile bootstrap of five seeds"
    yield "covers 83 % where it says 95 %."
    yield ""
    yield from _table(["claim", "", "measured", "beside", "ratio"], _verdicts(outcomes, titles, columns))
    yield ""
    yield "## Arms"
    yield ""
    heads = [column.title for column in columns]
    yield from _table(["arm", "seeds", *heads], _means(outcomes, titles, columns))
    yield ""
    for column in columns:
        yield f"- **{column.title}**: {column.meaning}."
    yield ""
    yield f"## Beside {titles[BASELINE]}"
    yield ""
    yield "Difference of means, paired by seed, with Student's 95 % interval over seeds."
    yield ""
    yield from _table(["arm", *heads], _differences(outcomes, titles, columns))
    for picture in pictures:
        yield ""
        yield f"![{picture.stem}]({picture.name})"


def _verdicts(outcomes: ByArm, titles: Mapping[str, str], columns: Sequence[Measure]) -> Iterator[list[str]]:
    by_key = {column.key: column for column in columns}
    for claim in claims(*first_and_last_stage(outcomes)):
        if not {claim.arm, claim.rival} <= outcomes.keys():
            continue
        column = by_key[claim.measure]
        arm, rival = paired(*(cell(column, outcomes[name]) for name in (claim.arm, claim.rival)))
        if not arm.values:  # their trials so far are of other seeds
            continue
        ratio = f"{arm.mean / rival.mean:.2f}" if rival.mean else ""
        shown = [f"{column.write(c.mean)} ({titles[n]})" for c, n in ((arm, claim.arm), (rival, claim.rival))]
        yield [claim.text, f"**{claim.verdict(arm, rival)}**", *shown, ratio]


def _means(outcomes: ByArm, titles: Mapping[str, str], columns: Sequence[Measure]) -> Iterator[list[str]]:
    for name, title in titles.items():
        cells = [(column, cell(column, outcomes[name])) for column in columns]
        yield [
            title,
            str(len(outcomes[name])),
            *(_mean(column, c) for column, c in cells),
        ]


def _mean(column: Measure, c: Cell) -> str:
    """With the spread, if there is one."""
    if not c.values:
        return ""
    spread = f" ({column.write(c.std)})" if len(c.values) > 1 else ""
    return column.write(c.mean) + spread


def _differences(
    outcomes: ByArm, titles: Mapping[str, str], columns: Sequence[Measure]
) -> Iterator[list[str]]:
    baselines = [cell(column, outcomes[BASELINE]) for column in columns]
    for name, title in titles.items():
        if name != BASELINE:
            pairs = zip(columns, baselines, strict=True)
            yield [title, *(_difference(c, cell(c, outcomes[name]), baseline) for c, baseline in pairs)]


def _difference(column: Measure, arm: Cell, baseline: Cell) -> str:
    """With its interval, if there is one."""
    num_pairs = len(paired(arm, baseline)[0].values)
    if not num_pairs:
        return ""
    found = difference(arm, baseline)
    low, high = (column.write(end, sign="+") for end in (found.low, found.high))
    interval = f" [{low}, {high}]" if num_pairs > 1 else ""
    return column.write(found.value, sign="+") + interval


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _numbers(outcomes: ByArm, columns: Sequence[Measure]) -> dict[str, dict[str, dict[str, float]]]:
    """Values by arm, measure and seed."""
    return {
        name: {
            column.key: {str(seed): value for seed, value in cell(column, trials).values.items()}
            for column in columns
        }
        for name, trials in outcomes.items()
    }
