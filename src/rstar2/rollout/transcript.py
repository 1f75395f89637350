"""A rollout as a person reads it, and as JSON for the report."""

from typing import Any

from rstar2.ports import Tokenizer
from rstar2.types import GradedRollout, MalformedCall, Problem


def readable(tokenizer: Tokenizer, problem: Problem, graded: GradedRollout) -> dict[str, Any]:
    """Problem, outcome, and each segment's text and tokens with who wrote it.

    The tokens are there for whoever asks a policy about them: a text can be read as other tokens than those
    that were sampled.
    """
    rollout = graded.rollout
    return {
        "problem": problem.id,
        "task": problem.task,
        "question": problem.question,
        "expected": problem.answer,
        "answer": rollout.answer,
        "index": rollout.index,
        "reward": graded.reward,
        "ending": rollout.ending.value,
        "tokens": rollout.num_response_tokens,
        "statuses": [status.value for status in rollout.call_statuses],
        "calls": [
            None
            if turn.call is None
            else turn.call.reason
            if isinstance(turn.call, MalformedCall)
            else turn.call.readable
            for turn in rollout.turns
        ],
        "segments": [
            {
                "source": segment.source.value,
                "text": tokenizer.decode(segment.token_ids),
                "token_ids": list(segment.token_ids),
            }
            for segment in rollout.segments
        ],
    }


def as_text(record: dict[str, Any]) -> str:
    """The readable form of one record of `readable`."""
    verdict = "right" if record["reward"] == 1.0 else "wrong"
    head = f"{record['task']}: {record['question'].strip()}\n"
    head += f"expected {record['expected']}, got {record['answer']} ({verdict})"
    body = "".join(s["text"] for s in record["segments"] if s["source"] != "prompt")
    return f"{head}\n{body}"
