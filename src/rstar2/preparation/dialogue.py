"""A conversation in the form that SFT reads: OpenAI's messages and tools, with calls that can be relied on.

`dialogue` makes all of them, so every conversation keeps the rules: it ends with the assistant, speakers
take turns, results follow calls, calls name a listed tool, and no text can be taken for a control token.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from rstar2.protocol.tokenizer import CHAT_TOKENS, TAG_TOKENS

Message = dict[str, Any]
Tool = dict[str, Any]

_CONTROL = (*CHAT_TOKENS, *TAG_TOKENS, "<think>", "</think>")
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_MAY_FOLLOW = {
    "start": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "call": ("tool",),
    "tool": ("tool", "assistant"),
}
_TYPES = {"dict": "object", "float": "number", "int": "integer", "bool": "boolean", "list": "array",
          "tuple": "array", "str": "string", "any": "string"}  # fmt: skip
"""Python's names of types, which some sources write into JSON schemas."""


class Unusable(ValueError):
    """Why one conversation is dropped, in few words that many share: they are counted."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    def as_line(self, **more: str) -> str:
        """As JSON."""
        record = {"messages": self.messages, "tools": self.tools, **more}
        return json.dumps(record, ensure_ascii=False)

    @property
    def id(self) -> str:
        """The same for the same conversation, over runs and machines."""
        return sha256(json.dumps([self.messages, self.tools]).encode()).hexdigest()[:16]


def dialogue(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Dialogue:
    """The conversation up to the assistant's last word; Unusable if it breaks a rule."""
    kept = list(messages)
    while kept and kept[-1]["role"] != "assistant":
        kept.pop()
    if not kept:
        raise Unusable("no assistant")
    _without_control(json.dumps(tools))
    names = {tool["function"]["name"] for tool in tools}
    before = "start"
    for message in kept:
        now = "call" if message.get("tool_calls") else message["role"]
        if now.replace("call", "assistant") not in _MAY_FOLLOW[before]:
            raise Unusable("turns out of order")
        _check(message, names)
        before = now
    return Dialogue(tuple(kept), tuple(tools))


def _check(message: Message, tool_names: set[str]) -> None:
    content, calls = message["content"], message.get("tool_calls", ())
    if not content and not calls:
        raise Unusable("an empty message")
    if not {call["function"]["name"] for call in calls} <= tool_names:
        raise Unusable("a call of an unlisted tool")
    _without_control(content, *(call["function"]["arguments"] for call in calls))


def _without_control(*texts: str) -> None:
    if any(token in text for token in _CONTROL for text in texts):
        raise Unusable("control tokens")


def said(role: str, content: str) -> Message:
    """A message of text."""
    return {"role": role, "content": content.strip()}


def without_thoughts(text: str) -> str:
    """What an assistant says after it has thought: nothing here teaches to reason."""
    spoken = _THOUGHT.sub("", text)
    if "<think>" in spoken or "</think>" in spoken:
        raise Unusable("thoughts that do not end")
    return spoken


def called(*calls: tuple[str, Mapping[str, Any]]) -> Message:
    """The assistant's message that makes these calls, each a name and its arguments."""
    functions = [{"name": name, "arguments": _as_json(arguments)} for name, arguments in calls]
    made = [{"type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": "", "tool_calls": made}


def _as_json(arguments: Mapping[str, Any]) -> str:
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise Unusable("a call that cannot be read") from error


def listed(described: object) -> Tool:
    """A tool as OpenAI's API lists it, from a description that may lack the wrapping or parameters."""
    function = described.get("function", described) if isinstance(described, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable("a tool without a name")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise Unusable("a tool with strange parameters")
    shown = {
        "name": function["name"],
        "description": str(function.get("description") or ""),
        "parameters": _json_types(parameters),
    }
    return {"type": "function", "function": shown}


def _json_types(schema: Any) -> Any:
    """The schema with JSON's names of types for Python's."""
    if isinstance(schema, list):
        return [_json_types(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    mended = {key: _json_types(value) for key, value in schema.items()}
    if isinstance(kind := mended.get("type"), str):
        mended["type"] = _TYPES.get(kind, kind)
    return mended
