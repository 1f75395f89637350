"""Rollouts as conversations: each as parts that a page can lay out.

All text in here was written by a model or by its programs: it is data, and whoever shows it must escape it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rstar2.protocol.parse import CLOSE, OPEN
from rstar2.protocol.response import shorten
from rstar2.types import Source, ToolStatus

Record = Mapping[str, Any]
"""One line of rollouts.jsonl: what `rollout.transcript.readable` makes, with phase, step and fate in RoC."""

LONGEST_PART_CHARS = 6000
_RESPONSE_TAGS = ("<tool_response>", "</tool_response>")
_NOT_CALLS = (ToolStatus.MALFORMED, ToolStatus.UNKNOWN_TOOL, ToolStatus.BAD_ARGUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a conversation."""

    kind: Literal["text", "code", "bad call", "result"]
    text: str
    turn: int
    """Of the model, counted from 0; a result belongs to the turn that asked for it."""
    status: str = ""
    """Of the call, for code, bad calls and results; `not run` if nobody answered it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTokens:
    """What the model wrote in one turn, token by token as it was sampled; equally many of each."""

    pieces: tuple[str, ...]
    entropies_nats: tuple[float, ...]
    kinds: tuple[str | None, ...]
    """What an uncertain token is (`evaluation.behaviour.entropy.Kind`); None for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One rollout as a person reads it."""

    id: str
    """Unique within its run, the same in every report: what a link names."""
    phase: str
    step: int
    problem: str
    occasion: int
    """Which group of this problem in this step, counted from 0: a small set's may be drawn twice."""
    index: int
    """In its group."""
    task: str
    question: str
    expected: str
    answer: str | None
    is_right: bool
    is_kept: bool | None
    """Whether RoC chose it to learn from; None in evaluations."""
    error_penalty: float | None
    format_penalty: float | None
    """What RoC held against it; None in evaluations, and where it was not recorded."""
    num_calls: int
    num_errors: int
    num_tokens: int
    ending: str
    parts: tuple[Part, ...]
    tokens: tuple[ScoredTokens, ...]
    """By turn of the model; empty unless somebody computed their entropies."""


def conversation(record: Record, scores: Sequence[Mapping[str, Any]] = ()) -> Conversation:
    """`scores`: for every turn of the model the fields of a `ScoredTokens`, or nothing at all."""
    statuses = [ToolStatus(status) for status in record["statuses"]]
    return Conversation(
        id=_name(record),
        phase=record["phase"],
        step=record["step"],
        problem=record["problem"],
        occasion=occasion_of(record),
        index=record["index"],
        task=record["task"],
        question=shorten(record["question"].strip(), LONGEST_PART_CHARS),
        expected=record["expected"],
        answer=record["answer"],
        is_right=record["reward"] == 1.0,
        is_kept=None if is_evaluation(record) else record["kept"],
        error_penalty=None if is_evaluation(record) else record.get("error_penalty"),
        format_penalty=None if is_evaluation(record) else record.get("format_penalty"),
        num_calls=len(statuses),
        num_errors=sum(status.is_error for status in statuses),
        num_tokens=record["tokens"],
        ending=record["ending"].replace("_", " "),
        parts=tuple(_parts(record["segments"], record["calls"], statuses)),
        tokens=tuple(map(_scored_tokens, scores)),
    )


def key(record: Record) -> tuple[str, int, str, int, int]:
    """Which rollout of a run it is."""
    return record["phase"], record["step"], record["problem"], record["index"], occasion_of(record)


def occasion_of(record: Record) -> int:
    """Of a record that has none, as older runs left them, the first."""
    occasion: int = record.get("occasion", 0)
    return occasion


def is_evaluation(record: Record) -> bool:
    return str(record["phase"]).startswith("evaluation/")


def _name(record: Record) -> str:
    """PHASE/STEP/PROBLEM/INDEX, and ~OCCASION of later ones."""
    *which, occasion = map(str, key(record))
    return "/".join(which) + (f"~{occasion}" if occasion != "0" else "")


def _parts(
    segments: Sequence[Mapping[str, str]], calls: Sequence[str | None], statuses: Sequence[ToolStatus]
) -> Iterator[Part]:
    """Turns and calls come in the order of the segments; only a last call can be without a status."""
    turns, answered = iter(calls), iter(statuses)
    status: ToolStatus | None = None
    turn = -1
    for segment in segments:
        if segment["source"] == Source.MODEL:
            call = next(turns, None)
            status = next(answered, None) if call is not None else None
            turn += 1
            yield from _turn_parts(turn, segment["text"], call, status)
        elif segment["source"] == Source.ENVIRONMENT:
            text = shorten(_response(segment["text"]), LONGEST_PART_CHARS)
            yield Part(kind="result", turn=turn, text=text, status=status.value if status else "")


def _turn_parts(turn: int, text: str, call: str | None, status: ToolStatus | None) -> Iterator[Part]:
    if call is None:
        yield Part(kind="text", turn=turn, text=shorten(text.strip(), LONGEST_PART_CHARS))
        return
    before, _, attempt = text.partition(OPEN)
    if before.strip():
        yield Part(kind="text", turn=turn, text=shorten(before.strip(), LONGEST_PART_CHARS))
    status_text = status.value if status else "not run"
    if status in _NOT_CALLS:
        attempt = attempt.rpartition(CLOSE)[0] or attempt
        shown = shorten(attempt.strip(), LONGEST_PART_CHARS)
        yield Part(kind="bad call", turn=turn, text=shown, status=status_text)
    else:
        yield Part(kind="code", turn=turn, text=shorten(call, LONGEST_PART_CHARS), status=status_text)


def _scored_tokens(score: Mapping[str, Any]) -> ScoredTokens:
    """Entropies to two digits, as a colour shows no more."""
    return ScoredTokens(
        pieces=tuple(score["pieces"]),
        entropies_nats=tuple(round(entropy, 2) for entropy in score["entropies_nats"]),
        kinds=tuple(score["kinds"]),
    )


def _response(text: str) -> str:
    """The inside of the tool-response tags; templates with other tags are shown whole."""
    opening, closing = _RESPONSE_TAGS
    _, found, rest = text.partition(opening)
    return (rest.rpartition(closing)[0] if found else text).strip()
