"""ShareGPT's form with tools, as APIGen-MT-5k has it.

conversations  [{"from": "human" | "gpt" | "function_call" | "observation", "value": text}]
tools          text: a JSON list of functions, or nothing
system         text, or nothing
"""

import json
from typing import Any

from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue, Message, Unusable, called, dialogue, listed, said

_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "system": "system"}


def sharegpt(row: Columns) -> Dialogue:
    """One row."""
    tools = _json(row.label("tools") or "[]", "tools that are no JSON")
    if not isinstance(tools, list):
        raise Unusable("tools that are no list")
    turns = [_message(turn.text("from"), turn.text("value")) for turn in row.entries("conversations")]
    system = row.label("system") if "system" in row.values else ""
    opening = [said("system", system)] if system else []
    return dialogue([*opening, *turns], [listed(tool) for tool in tools])


def _message(speaker: str, value: str) -> Message:
    if speaker == "function_call":
        return called(*map(call_of, _calls(value)))
    if speaker not in _ROLES:
        raise Unusable("a speaker of no known role")
    return said(_ROLES[speaker], value)


def _calls(value: str) -> list[Any]:
    """Of one call or of a list of them."""
    made = _json(value, "a call that cannot be read")
    return made if isinstance(made, list) else [made]


def call_of(made: Any) -> tuple[str, dict[str, Any]]:
    """(name, arguments) of `{"name": ..., "arguments": {...}}`."""
    name, arguments = (
        (made.get("name"), made.get("arguments", {})) if isinstance(made, dict) else (None, None)
    )
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise Unusable("a call that cannot be read")
    return name, arguments


def _json(text: str, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(otherwise) from error
