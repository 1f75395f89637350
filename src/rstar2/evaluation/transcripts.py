"""A folder of transcripts: one file per problem, so that an evaluation goes on where it was stopped.

    settings.json       what was asked for; another evaluation may not go on here
    0007-PROBLEM.jsonl  one rollout per line; the file is there when all of them have ended
    score.json          the last score

A file is written aside and renamed: it is whole or not there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar2.errors import InputError
from rstar2.evaluation.attempts import Record
from rstar2.telemetry import replace_text
from rstar2.types import Problem


class Transcripts:
    """The transcripts of one evaluation."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin in an empty folder, or go on; InputError if other `settings` were begun with there."""
        self.folder = folder
        _make(folder)
        begun = folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if not begun.exists():
            replace_text(begun, json.dumps(wanted, indent=1) + "\n")
            return
        found = json.loads(begun.read_text(encoding="utf-8"))
        differing = sorted(key for key in {*found, *wanted} if found.get(key, ...) != wanted.get(key, ...))
        if differing:
            key = differing[0]
            if key not in found:
                raise InputError(
                    f"'{folder}' holds an evaluation of a version of rstar2 that did not note {key}: give "
                    "another --folder, or go on with that version"
                )
            raise InputError(
                f"'{folder}' holds another evaluation ({key} is {found.get(key)!r} there and "
                f"{wanted.get(key)!r} here): give another --folder, or remove it"
            )

    def records(self, number: int, problem: Problem) -> list[Record] | None:
        """The rollouts of a problem; None if they have not all ended."""
        path = self._path(number, problem)
        if not path.exists():
            return None
        records: list[Record] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        asked = (problem.id, problem.question, problem.answer)
        if any((r["problem"], r["question"], r["expected"]) != asked for r in records):
            raise InputError(
                f"'{path}' is of another problem, or of another answer to it: "
                "give another --folder, or remove that file to have the problem played again"
            )
        return records

    def keep(self, number: int, problem: Problem, records: Sequence[Record]) -> None:
        """All rollouts of a problem, which have ended."""
        replace_text(self._path(number, problem), "".join(json.dumps(record) + "\n" for record in records))

    def keep_score(self, score: Mapping[str, Any]) -> Path:
        path = self.folder / "score.json"
        replace_text(path, json.dumps(score, indent=1) + "\n")
        return path

    def _path(self, number: int, problem: Problem) -> Path:
        """The number tells apart what file names cannot."""
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", problem.id)[:80]
        return self.folder / f"{number:04}-{name}.jsonl"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be made ({error.strerror}): give another --folder") from error
