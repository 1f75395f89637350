"""What a page shows of one run, in parts: each a JSON text, so that a live page fetches only what changed.

about              name, subtitle, config, how RoC chose
phases, tasks      the summary, once a phase has ended
behaviour          the tables of `rstar2 analyze`, once somebody ran it
charts, anatomy    of every step so far
rollouts/P/S       the conversations of step S of phase P, or of an evaluation
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rstar2.evaluation.headline import cells
from rstar2.evaluation.report.anatomy import anatomies
from rstar2.evaluation.report.conversations import Record, conversation, occasion_of
from rstar2.evaluation.report.curves import charts
from rstar2.evaluation.report.occasions import Occasion, RolloutFile, by_interest
from rstar2.evaluation.report.scores import ScoreFile
from rstar2.telemetry import Follower

MAX_BYTES = 4_900_000
"""Of all parts on one page, which must stay below 5 MB with its scripts; conversations get what is left."""
_MOST_MISSES = 8
"""Occasions that may turn out too large for the room that is left, before no more are tried."""
_LARGEST_SHARE = 1 / 8
"""Of a page that one occasion may take; of longer rollouts it shows fewer groups."""


class RunParts:
    """Reads a run's folder, again and again as the run goes on; what was read once is not read again."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._metrics = _Records(folder / "metrics.jsonl")
        self._timelines = _Records(folder / "timeline.jsonl")
        self._rollouts = RolloutFile(folder / "rollouts.jsonl")
        self._scores = ScoreFile(folder)
        self._conversations: dict[tuple[Occasion, int], str] = {}
        """By occasion and number of scored rollouts: all that were tried last, also without room."""

    def read(self) -> dict[str, str]:
        """JSON text by name of the part; empty while the run has not begun."""
        metrics, summary = self._metrics.read(), _content(self.folder / "summary.json")
        rows = summary.get("stages", [])
        if not metrics and not rows:
            return {}
        parts = {
            "about": self._about(summary, num_steps=len(metrics)),
            "phases": [cells(row) for row in rows],
            "tasks": task_table(rows),
            "behaviour": _content(self.folder / "analysis.json").get("tables", []),
            "charts": [asdict(chart) for chart in charts(metrics)],
            "anatomy": [asdict(step) for step in anatomies(metrics, self._timelines.read())],
        }
        texts = {name: json_text(part) for name, part in parts.items()}
        return texts | dict(self._shown_rollouts(self._max_bytes - sum(map(len, texts.values()))))

    @property
    def config(self) -> str:
        path = self.folder / "config.toml"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _about(self, summary: Mapping[str, Any], *, num_steps: int) -> dict[str, Any]:
        config = tomllib.loads(self.config)
        return {
            "name": self.folder.resolve().name,
            "subtitle": _subtitle(summary, config, num_steps=num_steps),
            "config": self.config,
            "roc": config.get("roc", {}),
        }

    def _shown_rollouts(self, room: int) -> Iterator[tuple[str, str]]:
        """Whole occasions, the most interesting first, as many as fit; in the order of the run.

        A long run has thousands of steps: those that do not fit are neither all tried, nor read again.
        """
        num_scored, num_misses = self._scores.refresh(), 0
        tried: dict[tuple[Occasion, int], str] = {}
        shown: dict[Occasion, str] = {}
        for occasion in by_interest(self._rollouts.occasions()):
            key = occasion, num_scored
            text = tried[key] = self._conversations.get(key) or self._conversations_of(occasion)
            if len(text) <= room:
                room -= len(text)
                shown[occasion] = text
            elif (num_misses := num_misses + 1) == _MOST_MISSES:
                break
        self._conversations = tried
        for occasion in sorted(shown, key=lambda occasion: occasion.begin):
            yield f"rollouts/{occasion.phase}/{occasion.step}", shown[occasion]

    def _conversations_of(self, occasion: Occasion) -> str:
        """Its first groups, whole, as many as fit; one at least."""
        texts: list[str] = []
        room = self._max_bytes * _LARGEST_SHARE
        for _, group in groupby(self._rollouts.records(occasion), key=_which_group):
            of_group = [json_text(asdict(conversation(r, self._scores.turns(r)))) for r in group]
            room -= sum(map(len, of_group))
            if texts and room < 0:
                break
            texts += of_group
        return f"[{','.join(texts)}]"


class _Records:
    """All records of a file so far."""

    def __init__(self, path: Path) -> None:
        self._follower = Follower(path)
        self._records: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        for line in self._follower.new_lines(on_cut_back=self._records.clear):
            self._records.append(line.record)
        return self._records


def _which_group(record: Record) -> tuple[str, int]:
    return record["problem"], occasion_of(record)


def task_table(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """pass@1 in [0, 1] by task (rows) and phase (columns); None where a phase has no such task."""
    rows = list(rows)
    tasks = sorted({task for row in rows for task in row["pass_at_1_by_task"]})
    return {
        "phases": [row["name"] for row in rows],
        "tasks": [{"name": t, "shares": [row["pass_at_1_by_task"].get(t) for row in rows]} for t in tasks],
    }


def _content(path: Path) -> dict[str, Any]:
    """Of a file that is written at once; nothing while it is not there."""
    if not path.exists():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _subtitle(summary: Mapping[str, Any], config: Mapping[str, Any], *, num_steps: int) -> str:
    """Steps are counted as they are taken, time when a phase has ended: together only if all have."""
    if "seed" not in summary:
        return f"{num_steps} optimizer steps so far"
    phases = ["base", "sft", *(stage["name"] for stage in config.get("stages", []))]
    seed, minutes = f"seed {summary['seed']}", f"{summary['wall_s'] / 60:.1f} minutes"
    if len(summary["stages"]) < len(phases):
        return f"{seed}, {num_steps} optimizer steps so far, {minutes} in finished phases"
    return f"{seed}, {num_steps} optimizer steps, {minutes}"


def json_text(part: object) -> str:
    """ASCII, so that it is as many bytes as characters, and without `<`: no text can end its script element.

    A surrogate without its half, as a byte-level model may write it, cannot be encoded but escaped.
    """
    return json.dumps(part, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
