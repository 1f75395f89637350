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


def read_conversations(path: Path) -> list[Conversation]:
    """All conversations of a file; DataError names the line that holds none."""
    if not path.is_file():
        raise DataError(
            f"there is no SFT file '{path}': check sft.files, or make it with `rstar2 data prepare`"
        )
    with path.open("rb") as lines:
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


def _conversation(line: bytes, where: str) -> Conversation:
    try:
        record: Any = json.loads(line)
        messages, tools = record["messages"], record.get("tools")
        roles = [str(message["role"]) for message in messages]
        json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is JSON, but no text
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{where}: expected {{"messages": [{{"role": ..., "content": ...}}]}} ({error})'
        ) from error
    if "assistant" not in roles or not ROLES.issuperset(roles):
        raise DataError(f"{where}: roles must be system, user, assistant or tool, one at least assistant")
    if roles[0] not in ("system", "user"):
        raise DataError(
            f"{where}: it begins with {roles[0]}: put the system or user message that it answers first"
        )
    if tools is not None and not (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)):
        raise DataError(f'{where}: tools must be a list of {{"type": "function", "function": {{...}}}}')
    checked = [_message(message, f"{where}: message {n}") for n, message in enumerate(messages, start=1)]
    return Conversation(tuple(checked), None if tools is None else tuple(tools))


def _message(message: Message, where: str) -> Message:
    """As every template can render it: contents are texts, calls name their function, no turn is empty."""
    if isinstance(message.get("content"), list):
        message = {**message, "content": _joined(message["content"], where)}
    role = message["role"]
    for key, may_lack in {"content": role == "assistant", "reasoning_content": True}.items():
        value = message.get(key)
        if not isinstance(value, str) and not (value is None and may_lack):
            raise DataError(
                f"{where}, {role}: {key} is {value!r:.40}, no text; write a text or delete the line"
            )
    calls = message.get("tool_calls") or []
    if not (isinstance(calls, list) and all(map(_is_call, calls))):
        raise DataError(
            f"{where}, {role}: tool_calls must be a list of "
            '{"function": {"name": "...", "arguments": {...}}}; write them so, or delete the line'
        )
    if role == "assistant" and not (calls or message.get("content") or message.get("reasoning_content")):
        raise DataError(
            f"{where}, {role}: it says nothing and calls nothing; write a text or delete the line"
        )
    return message


def _joined(parts: Sequence[Any], where: str) -> str:
    """The text of OpenAI's parts; a model of text alone can learn nothing from others."""
    for part in parts:
        if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            raise DataError(
                f"{where}: the part {part!r:.40} is no text; leave "
                '{"type": "text", "text": "..."} alone, or delete the line'
            )
    return "".join(part["text"] for part in parts)


def _is_call(call: Any) -> bool:
    """With a `function`, or its name and arguments without: templates take both."""
    function = call.get("function", call) if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str | dict)
    )
