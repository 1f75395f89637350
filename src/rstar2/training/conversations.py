"""Conversations of JSONL files, as SFT reads them: pass after pass, each in a drawn order of its own.

A line is an object with `messages` in the usual chat form and, if others than the run's tools are called in
it, `tools` in OpenAI's form. Lines are checked when the file is read; tokens are made when a step needs them.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rstar2.errors import DataError
from rstar2.protocol.template import Message

ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said, and what could be called."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    """As the template lists them; None for the run's own."""


def refuse_missing(files: Sequence[str]) -> None:
    """DataError if one is not there: before a run begins, whose SFT may be hours away."""
    for path in map(Path, files):
        if not path.is_file():
            raise DataError(
                f"there is no SFT file '{path}': check sft.files, or make it with `rstar2 data prepare`"
            )


def read_conversations(path: Path) -> list[Conversation]:
    """All conversations of a file; DataError names the line that holds none."""
    refuse_missing([str(path)])
    with path.open(encoding="utf-8") as lines:
        read = [_conversation(line, f"{path}:{n}") for n, line in enumerate(lines, start=1) if line.strip()]
    if not read:
        raise DataError(f"'{path}' has no conversations: every line must be an object with messages")
    return read


def drawn(num_conversations: int, *, step: int, count: int, seed: int) -> list[int]:
    """Which `count` conversations a step learns from: steps go through all of them before any comes again."""
    places = range(step * count, (step + 1) * count)
    return [_order(num_conversations, place // num_conversations, seed)[place % num_conversations]
            for place in places]  # fmt: skip


@lru_cache(maxsize=2)
def _order(num_conversations: int, epoch: int, seed: int) -> Sequence[int]:
    order = list(range(num_conversations))
    random.Random(f"{seed}/sft/epoch/{epoch}").shuffle(order)
    return order


def _conversation(line: str, where: str) -> Conversation:
    try:
        record: Any = json.loads(line)
        messages, tools = record["messages"], record.get("tools")
        roles = [message["role"] for message in messages]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f'{where}: expected {{"messages": [{{"role": ..., "content": ...}}]}}') from error
    if "assistant" not in roles or not ROLES.issuperset(roles):
        raise DataError(f"{where}: roles must be system, user, assistant or tool, one at least assistant")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)):
        raise DataError(f'{where}: tools must be a list of {{"type": "function", "function": {{...}}}}')
    return Conversation(tuple(messages), None if tools is None else tuple(tools))
