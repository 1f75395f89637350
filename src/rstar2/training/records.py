"""What a run leaves for its readers, who are many; the run itself reads nothing of it back.

    metrics.jsonl    a line per step                    rollouts.jsonl   the first groups of every step
    timeline.jsonl   what each RL step was made of      traces.jsonl     the last step, for `simulate`
    summary.json     a row per finished phase

On resume the files that grow are cut back to what the checkpoint knows, so that nothing is counted twice.
CheckpointError if one cannot be written: a run that goes on without them would leave a hole in its story.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstar2.checkpoint import writing
from rstar2.grpo import roc
from rstar2.ports import Tokenizer
from rstar2.rollout.simulation import traces
from rstar2.rollout.transcript import readable
from rstar2.telemetry import JsonLines, Window, replace_text
from rstar2.telemetry.trackers import Trackers
from rstar2.training.state import RunState
from rstar2.types import Group


class Records:
    """The files of one run; `max_rollouts` bounds those that are kept of each step."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, max_rollouts: int, trackers: Trackers) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._max_rollouts = max_rollouts
        self._trackers = trackers
        self._num_steps = 0
        """Optimizer steps that metrics.jsonl tells of."""
        self._metrics = JsonLines(folder / "metrics.jsonl")
        self._rollouts = JsonLines(folder / "rollouts.jsonl")
        self._timeline = JsonLines(folder / "timeline.jsonl")

    def note_lengths(self, state: RunState) -> None:
        """Let the state know how long the files are."""
        state.metrics_bytes = self._metrics.num_bytes
        state.rollouts_bytes = self._rollouts.num_bytes
        state.timeline_bytes = self._timeline.num_bytes

    def flush_to_disk(self) -> None:
        """Before a checkpoint that knows their lengths is there."""
        with writing(self._folder):
            for file in (self._metrics, self._rollouts, self._timeline):
                file.flush_to_disk()

    def cut_back(self, state: RunState) -> None:
        """Forget what was written since the state was saved; the run begins, or goes on, from there."""
        with writing(self._folder):
            self._metrics.cut_back(state.metrics_bytes)
            self._rollouts.cut_back(state.rollouts_bytes)
            self._timeline.cut_back(state.timeline_bytes)
        self._num_steps = state.total_steps
        self._trackers.begin(self._num_steps)

    def keep_metrics(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        self._num_steps += 1
        _append(self._metrics, {"phase": phase, "step": step, **metrics})
        self._trackers.record(phase, self._num_steps, metrics)

    def track_evaluation(self, row: Mapping[str, Any]) -> None:
        """Its numbers stand in the summary; trackers draw them over the steps."""
        self._trackers.record("evaluation", self._num_steps, row)

    def keep_window(self, phase: str, step: int, window: Window) -> None:
        _append(self._timeline, {"phase": phase, "step": step, **asdict(window)})

    def keep_rollouts(self, phase: str, step: int, groups: Sequence[Group], kept: Sequence[Group]) -> None:
        """The first few groups of a step, whole, so that a reader sees what RoC chose from.

        A problem may have several groups: `occasion` counts them from 0, as an index is unique in one alone.
        """
        budget = self._max_rollouts
        num_groups = Counter[str]()
        for group, chosen in zip(groups, kept, strict=True):
            if budget < len(group.rollouts):
                return
            budget -= len(group.rollouts)
            occasion = num_groups[group.problem.id]
            num_groups[group.problem.id] += 1
            indices = {g.rollout.index for g in chosen.rollouts}
            for graded in group.rollouts:
                record = readable(self._tokenizer, group.problem, graded)
                fate = {
                    "kept": graded.rollout.index in indices,
                    "error_penalty": roc.error_penalty(graded.rollout),
                    "format_penalty": roc.format_penalty(graded.rollout),
                }
                where = {"phase": phase, "step": step, "occasion": occasion}
                _append(self._rollouts, {**where, **fate, **record})

    def keep_traces(self, groups: Sequence[Group], *, max_response_tokens: int) -> None:
        """The last step's rollouts as a scheduler met them: what `rstar2 simulate --trace` plays again."""
        path = self._folder / traces.FILE_NAME
        aside = path.with_name(f".{path.name}.partial")
        rollouts = (graded.rollout for group in groups for graded in group.rollouts)
        limit = max_response_tokens
        with writing(path):
            aside.unlink(missing_ok=True)
            traces.write_traces(aside, (traces.trace_of(r, max_response_tokens=limit) for r in rollouts))
            aside.replace(path)

    def write_summary(self, rows: Sequence[Mapping[str, Any]], *, seed: int) -> dict[str, Any]:
        summary = {"seed": seed, "wall_s": sum(row["wall_s"] for row in rows), "stages": list(rows)}
        path = self._folder / "summary.json"
        with writing(path):
            replace_text(path, json.dumps(summary, indent=1) + "\n")
        return summary


def _append(file: JsonLines, record: Mapping[str, Any]) -> None:
    with writing(file.path):
        file.append(record)
