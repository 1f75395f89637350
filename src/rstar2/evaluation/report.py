"""A run as one page: report.html, which needs nothing but itself.

Data goes in as JSON and the page's script draws it; no text of a model ever becomes markup. The page
forbids itself the network.
"""

import html
import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from rstar2.errors import DataError
from rstar2.evaluation.conversations import conversation, selection
from rstar2.evaluation.curves import charts
from rstar2.evaluation.headline import COLUMNS, cells
from rstar2.telemetry import JsonLines

MAX_ROLLOUT_CHARS = 3_000_000


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what the run has left there so far; also while it runs."""
    page = render(report_data(folder), title=folder.resolve().name)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def report_data(folder: Path) -> dict[str, Any]:
    """Everything that the page shows, as JSON-able data."""
    metrics = list(JsonLines(folder / "metrics.jsonl"))
    summary = _summary(folder / "summary.json")
    if not metrics and not summary["stages"]:
        raise DataError(
            f"'{folder}' holds no run that has begun: give the folder that `rstar2 train` wrote to"
        )
    config = folder / "config.toml"
    return {
        "config": config.read_text(encoding="utf-8") if config.exists() else "",
        "subtitle": _subtitle(summary, num_steps=len(metrics)),
        "columns": [{"title": column.title, "meaning": column.meaning} for column in COLUMNS],
        "rows": [cells(row) for row in summary["stages"]],
        "tasks": task_table(summary["stages"]),
        "charts": [asdict(chart) for chart in charts(metrics)],
        "conversations": [asdict(c) for c in map(conversation, _shown(folder / "rollouts.jsonl"))],
    }


def task_table(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """pass@1 in [0, 1] by task (rows) and phase (columns); None where a phase has no such task."""
    rows = list(rows)
    tasks = sorted({task for row in rows for task in row["pass_at_1_by_task"]})
    return {
        "phases": [row["name"] for row in rows],
        "tasks": [{"name": t, "shares": [row["pass_at_1_by_task"].get(t) for row in rows]} for t in tasks],
    }


def render(data: dict[str, Any], *, title: str) -> str:
    """The page. `<` is written as an escape inside the JSON, so that no text can end its script element."""
    part = resources.files("rstar2.evaluation").joinpath
    return Template(part("page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        style=part("page.css").read_text(encoding="utf-8"),
        script=part("page.js").read_text(encoding="utf-8"),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )


def _summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"stages": []}
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def _subtitle(summary: dict[str, Any], *, num_steps: int) -> str:
    if not summary["stages"]:
        return f"{num_steps} optimizer steps so far"
    minutes = summary["wall_s"] / 60
    return f"seed {summary['seed']}, {num_steps} optimizer steps, {minutes:.1f} minutes"


def _shown(path: Path) -> list[Any]:
    return selection(JsonLines(path), max_chars=MAX_ROLLOUT_CHARS)
