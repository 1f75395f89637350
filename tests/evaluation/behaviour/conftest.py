"""Rollouts by hand: a tokenizer of words, and turns written as words with the entropy of each."""

import re
from collections.abc import Callable, Sequence

import pytest

from rstar2.types import Source

END = "<|im_end|>"
RESPONSE = "\n<tool_response>\n{}\n</tool_response>\n<reason>"


class Words:
    """Words with the blank before them, tags and single signs are tokens; ids in the order of first use."""

    def __init__(self) -> None:
        self._words = [END]

    @property
    def eos_token_id(self) -> int:
        return 0

    def encode(self, text: str) -> list[int]:
        words = re.findall(r"<\|\w+\|>|</?\w+>| ?\w+|\s|\S", text)
        self._words += dict.fromkeys(word for word in words if word not in self._words)
        return [self._words.index(word) for word in words]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(self._words[token_id] for token_id in token_ids)


@pytest.fixture
def words() -> Words:
    return Words()


def call_of(code: str) -> str:
    return f'<tool_call>{{"name": "python", "arguments": {{"code": "{code}", "input": ""}}}}</tool_call>'


def record_of(
    *turns: str,
    calls: Sequence[str | None],
    statuses: Sequence[str],
    responses: Sequence[str] = (),
    answer: str | None = "6",
    reward: float = 1.0,
    problem: str = "p",
) -> dict[str, object]:
    """One line of rollouts.jsonl, without tokens."""
    segments = [{"source": Source.PROMPT.value, "text": "What is 2 times 3?"}]
    for number, turn in enumerate(turns):
        segments.append({"source": Source.MODEL.value, "text": turn + END})
        if number < len(responses):
            text = RESPONSE.format(responses[number])
            segments.append({"source": Source.ENVIRONMENT.value, "text": text})
    return {
        "problem": problem, "index": 0, "reward": reward, "answer": answer,
        "statuses": list(statuses), "calls": list(calls), "segments": segments,
    }  # fmt: skip


@pytest.fixture
def call() -> Callable[[str], str]:
    """The text of a call that runs a program."""
    return call_of


@pytest.fixture
def record() -> Callable[..., dict[str, object]]:
    """Makes one line of rollouts.jsonl from the texts of its turns."""
    return record_of
