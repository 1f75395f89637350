"""Rollouts as conversations for the report: which ones, and each as parts that a page can lay out.

All text in here was written by a model or by its programs: it is data, and whoever shows it must escape it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from rstar2.protocol.parse import CLOSE, OPEN
from rstar2.protocol.response import shorten
from rstar2.types import Source, ToolStatus

Record = Mapping[str, Any]
"""One line of rollouts.jsonl, as `rollout.transcript.readable` makes it, with phase, step and kept."""

LONGEST_PART_CHARS = 6000
_RESPONSE_TAGS = ("<tool_response>", "</tool_response>")
_NOT_CALLS = (ToolStatus.MALFORMED, ToolStatus.UNKNOWN_TOOL, ToolStatus.BAD_ARGUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a conversation."""

    kind: Literal["text", "code", "bad call", "result"]
    text: str
    status: str = ""
    """Of the call, for code, bad calls and results; `not run` if nobody answered it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One rollout as a person reads it."""

    phase: str
    step: int
    task: str
    question: str
    expected: str
    answer: str | None
    is_right: bool
    is_kept: bool | None
    """Whether RoC chose it to learn from; None in evaluations."""
    num_calls: int
    num_errors: int
    num_tokens: int
    ending: str
    parts: tuple[Part, ...]


def conversation(record: Record) -> Conversation:
    statuses = [ToolStatus(status) for status in record["statuses"]]
    return Conversation(
        phase=record["phase"],
        step=record["step"],
        task=record["task"],
        question=record["question"].strip(),
        expected=record["expected"],
        answer=record["answer"],
        is_right=record["reward"] == 1.0,
        is_kept=None if is_evaluation(record) else record["kept"],
        num_calls=len(statuses),
        num_errors=sum(status.is_error for status in statuses),
        num_tokens=record["tokens"],
        ending=record["ending"].replace("_", " "),
        parts=tuple(_parts(record["segments"], record["calls"], statuses)),
    )


def is_evaluation(record: Record) -> bool:
    return str(record["phase"]).startswith("evaluation/")


def selection(records: Iterable[Record], *, max_chars: int) -> list[Record]:
    """Whole steps of rollouts until `max_chars` of text are reached, in the order of the run.

    Evaluations come before training steps, and of each stage the last, first and middle step before others:
    the least that shows how behaviour changed.
    """
    occasions = [list(group) for _, group in groupby(records, key=lambda r: (r["phase"], r["step"]))]
    chosen: list[int] = []
    room = max_chars
    for number in _by_interest(occasions):
        size = sum(_num_chars(record) for record in occasions[number])
        if size <= room:
            room -= size
            chosen.append(number)
    return [record for number in sorted(chosen) for record in occasions[number]]


def _by_interest(occasions: Sequence[Sequence[Record]]) -> Iterator[int]:
    phases: dict[str, list[int]] = {}
    for number, occasion in enumerate(occasions):
        phases.setdefault(occasion[0]["phase"], []).append(number)
    evaluations = [n for numbers in phases.values() for n in numbers if is_evaluation(occasions[n][0])]
    stages = [numbers for numbers in phases.values() if not is_evaluation(occasions[numbers[0]][0])]
    landmarks = [n for numbers in stages for n in (numbers[-1], numbers[0], numbers[len(numbers) // 2])]
    yield from dict.fromkeys([*evaluations, *landmarks])


def _num_chars(record: Record) -> int:
    return sum(min(len(s["text"]), LONGEST_PART_CHARS) for s in record["segments"])


def _parts(
    segments: Sequence[Mapping[str, str]], calls: Sequence[str | None], statuses: Sequence[ToolStatus]
) -> Iterator[Part]:
    """Turns and calls come in the order of the segments; only a last call can be without a status."""
    turns, answered = iter(calls), iter(statuses)
    status: ToolStatus | None = None
    for segment in segments:
        if segment["source"] == Source.MODEL:
            call = next(turns, None)
            status = next(answered, None) if call is not None else None
            yield from _turn_parts(segment["text"], call, status)
        elif segment["source"] == Source.ENVIRONMENT:
            text = shorten(_response(segment["text"]), LONGEST_PART_CHARS)
            yield Part(kind="result", text=text, status=status.value if status else "")


def _turn_parts(text: str, call: str | None, status: ToolStatus | None) -> Iterator[Part]:
    if call is None:
        yield Part(kind="text", text=shorten(text.strip(), LONGEST_PART_CHARS))
        return
    before, _, attempt = text.partition(OPEN)
    if before.strip():
        yield Part(kind="text", text=shorten(before.strip(), LONGEST_PART_CHARS))
    status_text = status.value if status else "not run"
    if status in _NOT_CALLS:
        attempt = attempt.rpartition(CLOSE)[0] or attempt
        yield Part(kind="bad call", text=shorten(attempt.strip(), LONGEST_PART_CHARS), status=status_text)
    else:
        yield Part(kind="code", text=shorten(call, LONGEST_PART_CHARS), status=status_text)


def _response(text: str) -> str:
    """The inside of the tool-response tags; templates with other tags are shown whole."""
    opening, closing = _RESPONSE_TAGS
    _, found, rest = text.partition(opening)
    return (rest.rpartition(closing)[0] if found else text).strip()
