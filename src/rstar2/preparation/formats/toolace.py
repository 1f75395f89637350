"""ToolACE.

system         text that holds the functions as a JSON list, and how calls are to be written
conversations  [{"from": "user" | "assistant" | "tool", "value": text}]; calls are
               [Name of One(text="a", count=2), other(flag=true)]
"""

import ast
import json
import re
from typing import Any

from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue, Message, Tool, Unusable, called, dialogue, listed, said
from rstar2.preparation.formats.python_text import parsed

_LIST = re.compile(r"\[\s*\{")
_NAME = re.compile(r"\s*,?\s*([^\s\[\](),][^\[\](),]*)\(")
_UNREADABLE = "a call that cannot be read"
_JSON_NAMES = {"true": True, "false": False, "null": None}


def toolace(row: Columns) -> Dialogue:
    """One row. The system text asks for a form of calls that is not ours, and is left out."""
    turns = [_message(turn.text("from"), turn.text("value")) for turn in row.entries("conversations")]
    return dialogue(turns, _tools(row.text("system")))


def _tools(system: str) -> list[Tool]:
    found = _LIST.search(system)
    if found is None:
        return []
    try:
        described, _ = json.JSONDecoder().raw_decode(system, found.start())
    except ValueError as error:
        raise Unusable("tools that are no JSON") from error
    return [listed(function) for function in described]


def _message(speaker: str, value: str) -> Message:
    if speaker not in ("user", "assistant", "tool"):
        raise Unusable("a speaker of no known role")
    value = value.strip()
    if speaker == "assistant" and value.startswith("[") and value.endswith(")]"):
        return called(*calls_of(value))
    return said(speaker, value)


def calls_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments) of each call in `[f(x=1), g h()]`; names may have spaces, so it is no Python."""
    calls, place, end = [], 1, len(text) - 1
    while text[place:end].strip():
        name = _NAME.match(text, place)
        if name is None:
            raise Unusable(_UNREADABLE)
        closing = _closing(text, name.end())
        calls.append((name[1].strip(), _arguments(text[name.end() : closing])))
        place = closing + 1
    return calls


def _closing(text: str, start: int) -> int:
    """Where the parenthesis closes that was opened before `start`, quoted ones not counted."""
    depth, quote, place = 1, "", start
    while place < len(text):
        character = text[place]
        if quote:
            place += character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            if not depth:
                return place
        place += 1
    raise Unusable(_UNREADABLE)


def _arguments(text: str) -> dict[str, Any]:
    expression = parsed(f"f({text})", "eval", otherwise=_UNREADABLE)
    assert isinstance(expression, ast.Expression)
    call = expression.body
    if not isinstance(call, ast.Call) or call.args or not all(word.arg for word in call.keywords):
        raise Unusable(_UNREADABLE)
    try:
        arguments = {
            str(word.arg): ast.literal_eval(_JsonNames().visit(word.value)) for word in call.keywords
        }
        json.dumps(arguments, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unusable(_UNREADABLE) from error
    return arguments


class _JsonNames(ast.NodeTransformer):
    """true, false and null, which are names in Python."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node
