"""Glaive's function calling v2.

system  text: "SYSTEM: You are a helpful assistant with access to the following functions. ... -" and then
        JSON objects, one after the other; or that there are none
chat    text: "USER: ...", "ASSISTANT: ... <|endoftext|>" and "FUNCTION RESPONSE: ...", by turns; a call is
        <functioncall> {"name": "f", "arguments": '{"x": 1}'}, with quotes that are not JSON's
"""

import json
import re
from typing import Any

from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue, Message, Tool, Unusable, called, dialogue, listed, said
from rstar2.preparation.formats.sharegpt import call_of

_SPEAKER = re.compile(r"^(USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_CALL = "<functioncall>"
_QUOTED = re.compile(r"""("arguments"\s*:\s*)'(.*)'(\s*\})""", re.DOTALL)


def glaive(row: Columns) -> Dialogue:
    """One row. The system text speaks of the tools only, which the template lists, and is left out."""
    tools = _tools(row.text("system"))
    _, *parts = _SPEAKER.split(row.text("chat"))
    turns = [_message(_ROLES[speaker], text) for speaker, text in zip(parts[::2], parts[1::2], strict=True)]
    return dialogue(turns, tools)


def _tools(system: str) -> list[Tool]:
    found: list[Tool] = []
    start = system.find("{")
    while start >= 0:
        try:
            described, end = json.JSONDecoder().raw_decode(system, start)
        except ValueError as error:
            raise Unusable("tools that are no JSON") from error
        found.append(listed(described))
        start = system.find("{", end)
    return found


def _message(role: str, text: str) -> Message:
    text = text.replace("<|endoftext|>", "").strip()
    if role != "assistant" or _CALL not in text:
        return said(role, text)
    spoken, _, call = text.partition(_CALL)
    return {**called(_call(call)), "content": spoken.strip()}


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """The arguments stand in single quotes as text of their own, or plainly."""
    bare = _QUOTED.sub(lambda found: found[1] + found[2].replace("\\'", "'") + found[3], text.strip())
    try:
        return call_of(json.loads(bare))
    except ValueError as error:
        raise Unusable("a call that cannot be read") from error
