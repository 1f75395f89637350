"""Rollouts as they were recorded, read back as turns with their tokens: the edge where JSON ends."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from rstar2.errors import InputError
from rstar2.ports import Tokenizer
from rstar2.types import Source, ToolStatus

Record = Mapping[str, Any]
"""One line of rollouts.jsonl or of a benchmark's transcripts, as `transcript.readable` makes it."""

_COLUMNS = ("problem", "index", "reward", "answer", "statuses", "calls", "segments")
"""Those that are read of it."""
_NOT_RUN = (ToolStatus.MALFORMED, ToolStatus.UNKNOWN_TOOL, ToolStatus.BAD_ARGUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTurn:
    """What the model wrote in one turn, and what came back."""

    start: int
    """Place of its first token in the rollout, the prompt included."""
    token_ids: tuple[int, ...]
    code: str | None
    """What it had run; None without a call that could be read."""
    status: ToolStatus | None
    """Of its call; None without an answered call."""
    response: str | None
    """What the model read of it, template and all; None if nothing came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRollout:
    """One graded rollout."""

    problem_id: str
    index: int
    is_right: bool
    answer: str | None
    token_ids: tuple[int, ...]
    """Prompt, turns and responses: all that the model saw and wrote."""
    turns: tuple[RecordedTurn, ...]
    has_sampled_tokens: bool
    """Whether the tokens are those that were sampled; else its text was tokenized anew."""

    @classmethod
    def of(cls, record: Record, tokenizer: Tokenizer) -> Self:
        """InputError if the line is of another file, or its tokens are of another tokenizer."""
        if missing := [column for column in _COLUMNS if column not in record]:
            raise InputError(
                f"a line without {missing[0]!r} is no rollout: "
                "give a rollouts.jsonl, or the --folder of a benchmark"
            )
        segments = record["segments"]
        token_ids = [_token_ids(segment, tokenizer) for segment in segments]
        return cls(
            problem_id=record["problem"],
            index=record["index"],
            is_right=record["reward"] == 1.0,
            answer=record["answer"],
            token_ids=tuple(token for ids in token_ids for token in ids),
            turns=tuple(_turns(record, token_ids)),
            has_sampled_tokens=all("token_ids" in segment for segment in segments),
        )

    @property
    def num_model_tokens(self) -> int:
        return sum(len(turn.token_ids) for turn in self.turns)


def _token_ids(segment: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Those that were sampled; without them, those of the text."""
    if not segment.get("token_ids"):
        return tuple(tokenizer.encode(segment["text"]))
    token_ids = tuple(segment["token_ids"])
    if tokenizer.decode(token_ids) != segment["text"]:  # the text was written so, by `transcript.readable`
        raise InputError(
            "these rollouts were written with another tokenizer: give the model that played them"
        )
    return token_ids


def _turns(record: Record, token_ids: Iterable[tuple[int, ...]]) -> Iterator[RecordedTurn]:
    """Turns and calls come in the order of the segments; only a last call can be without a status."""
    segments = record["segments"]
    calls, statuses = iter(record["calls"]), map(ToolStatus, record["statuses"])
    start = 0
    for number, (segment, ids) in enumerate(zip(segments, token_ids, strict=True)):
        if segment["source"] == Source.MODEL:
            call = next(calls, None)
            status = next(statuses, None) if call is not None else None
            following = segments[number + 1] if number + 1 < len(segments) else None
            yield RecordedTurn(
                start=start,
                token_ids=ids,
                code=None if status in _NOT_RUN else call,
                status=status,
                response=following["text"] if following else None,
            )
        start += len(ids)
