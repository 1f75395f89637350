"""Entropies of a run's rollouts, where `rstar2 analyze` computed them: RUN/entropies.jsonl, a line each.

{"phase": ..., "step": ..., "problem": ..., "occasion": ..., "index": ...,
 "turns": [{"pieces": [...], "entropies_nats": [...], "kinds": [...]}, ...]}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar2.evaluation.report.conversations import Record, key
from rstar2.telemetry import Follower

FILE_NAME = "entropies.jsonl"


class ScoreFile:
    """The index of a file of entropies, which may not be there, or still grow."""

    def __init__(self, folder: Path) -> None:
        self._follower = Follower(folder / FILE_NAME)
        self._begins: dict[tuple[str, int, str, int, int], int] = {}

    def refresh(self) -> int:
        """Look for new lines; how many rollouts are scored by now."""
        for line in self._follower.new_lines(on_cut_back=self._begins.clear):
            self._begins[key(line.record)] = line.begin
        return len(self._begins)

    def turns(self, record: Record) -> Sequence[Mapping[str, Any]]:
        """Of one rollout; nothing if nobody scored it."""
        begin = self._begins.get(key(record))
        if begin is None:
            return ()
        line = next(Follower(self._follower.path, begin=begin).new_lines(on_cut_back=lambda: None), None)
        turns: Sequence[Mapping[str, Any]] = line.record["turns"] if line else ()
        return turns
