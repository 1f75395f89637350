"""Calls in the model's text -> calls as OpenAI's clients know them.

Whether a call fits its tool is for the client to say, who runs it. A text that is meant as a call and is
none stays what it is: text.
"""

import json
import re
from dataclasses import dataclass
from uuid import uuid4

from rstar2.protocol.parse import CLOSE, OPEN
from rstar2.serving.text import Gate

_CALL = re.compile(re.escape(OPEN) + r"(.*?)" + re.escape(CLOSE), re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """What the client is asked to run."""

    id: str
    name: str
    arguments: str
    """JSON."""


class CallReader:
    """Tells a growing text from the calls in it."""

    def __init__(self) -> None:
        self._gate = Gate([OPEN])

    def push(self, text: str) -> str:
        """Text that is certainly no call."""
        return self._gate.push(text)

    def end(self) -> tuple[str, tuple[FunctionCall, ...]]:
        """(what is left of the text, the calls); no calls if any of them cannot be read, or has no end."""
        rest = self._gate.rest()
        calls = [_read(body) for body in _CALL.findall(rest)]
        readable = tuple(call for call in calls if call is not None)
        beside = _CALL.sub("", rest)
        if not calls or len(readable) < len(calls) or OPEN in beside:
            return rest, ()
        return beside.strip(), readable


def _read(body: str) -> FunctionCall | None:
    try:
        call = json.loads(body, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return None
    arguments = call["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return FunctionCall(id=f"call_{uuid4().hex}", name=call["name"], arguments=text)
