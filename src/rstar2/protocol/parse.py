"""From the text of one assistant turn to a tool call, a malformed call with its reason, or nothing.

The parser is where malformed calls become known, so it is where they become data. It never raises on
model text. An unclosed `<tool_call>` is a malformed call that is answered, not the end of a rollout.
"""

import json

from rstar2.protocol.template import TOOL_NAME
from rstar2.types import MalformedCall, ToolCall, ToolStatus

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_TOOL_NAMES = frozenset({TOOL_NAME, "python_code_with_standard_io"})
"""The paper's name, and the release's, so that either family of weights is understood."""
MAX_CALLS = 1
"""Calls executed per turn (paper.md 1.3); a turn with more is answered with that reason."""


def parse_turn(text: str) -> ToolCall | MalformedCall | None:
    """The call made by one assistant turn; None if it makes none."""
    start = text.find(OPEN)
    if start < 0:
        if CLOSE in text:
            return _malformed(f"{CLOSE} without {OPEN} before it")
        return None
    end = text.find(CLOSE, start)
    if end < 0:
        return _malformed(f"{OPEN} was not closed with {CLOSE}")
    if text.find(OPEN, end) >= 0:
        return _malformed(f"only {MAX_CALLS} tool call is allowed in a turn")
    return _parse_call(text[start + len(OPEN) : end])


def _parse_call(body: str) -> ToolCall | MalformedCall:
    try:
        # strict=False lets raw newlines stand inside strings: the meaning is not in doubt.
        call = json.loads(body, strict=False)
    except (ValueError, RecursionError) as error:  # also integers too long for Python to convert
        return _malformed(f"the tool call is not valid JSON: {str(error)[:200]}")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return _malformed('the tool call must be an object with "name" and "arguments"')
    return _check_call(call["name"], call["arguments"])


def _check_call(name: str, arguments: object) -> ToolCall | MalformedCall:
    if name not in _TOOL_NAMES:
        return MalformedCall(
            status=ToolStatus.UNKNOWN_TOOL, reason=f"there is no tool named {name[:80]!r}; use {TOOL_NAME}"
        )
    if not isinstance(arguments, dict):
        return _bad('"arguments" must be an object with "code" and "input"')
    code, stdin = arguments.get("code"), arguments.get("input", "")
    if not isinstance(code, str) or not isinstance(stdin, str):
        return _bad('"code" and "input" must be strings')
    if not _is_unicode(code + stdin):
        return _bad('"code" and "input" must not hold half of a surrogate pair')
    unknown = sorted(set(arguments) - {"code", "input"})
    if unknown:
        return _bad(f"unknown argument {unknown[0][:80]!r}; the arguments are code and input")
    return ToolCall(name=name, code=code, stdin=stdin)


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON escapes can spell and no file or pipe can carry."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _malformed(reason: str) -> MalformedCall:
    return MalformedCall(status=ToolStatus.MALFORMED, reason=reason)


def _bad(reason: str) -> MalformedCall:
    return MalformedCall(status=ToolStatus.BAD_ARGUMENTS, reason=reason)
