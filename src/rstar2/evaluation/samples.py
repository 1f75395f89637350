"""The few rollouts that tell most about a policy, picked from the records of a run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rstar2.types import ToolStatus

Record = Mapping[str, Any]
"""One line of rollouts.jsonl."""


def last_evaluation(records: Iterable[Record]) -> list[Record]:
    """All records of the evaluation that came last."""
    evaluations = [record for record in records if record["phase"].startswith("evaluation/")]
    return [record for record in evaluations if record["phase"] == evaluations[-1]["phase"]]


def telling(records: Sequence[Record]) -> dict[str, Record]:
    """By what it shows: the first right rollout with one call, right one with an error, and wrong one."""
    wanted = {
        "right, in one call": lambda r: r["reward"] == 1.0 and r["statuses"] == [ToolStatus.OK],
        "right, after an error": lambda r: r["reward"] == 1.0 and has_failed_call(r),
        "wrong": lambda r: r["reward"] == 0.0,
    }
    first = {title: next(filter(fits, records), None) for title, fits in wanted.items()}
    return {title: record for title, record in first.items() if record is not None}


def has_failed_call(record: Record) -> bool:
    """Whether a call of this rollout was an error of the model."""
    return any(ToolStatus(status).is_error for status in record["statuses"])
