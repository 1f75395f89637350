"""The text in which a tool's outcome is shown to the model: fixed, documented, the same everywhere.

    ok                 what was printed, then the value of the last expression, as IPython shows it
    exception          `tool call failed` and the end of the traceback
    limits             `tool call failed` and which limit
    malformed calls    `tool call failed` and the reason

A long text keeps its head and its tail. The wording follows the traces printed in the paper
(arXiv:2508.20722, Figs. 10 and 11): bare output on success, a status line on failure.
"""

from rstar2.types import MalformedCall, ToolResult, ToolStatus

FAILED = "tool call failed"
_LIMITS = {
    ToolStatus.TIME_LIMIT: "the program ran longer than its time limit",
    ToolStatus.MEMORY_LIMIT: "the program used more memory than its limit",
}


def response_text(outcome: ToolResult | MalformedCall, *, max_chars: int) -> str:
    """What the model reads between the tool-response tags; at most about `max_chars` characters."""
    if isinstance(outcome, MalformedCall):
        return shorten(f"{FAILED}: {outcome.reason}", max_chars)
    assert outcome.status is not ToolStatus.INFRASTRUCTURE, "infrastructure failures never reach the model"
    shown = outcome.stdout.rstrip("\n")
    if outcome.value is not None:
        shown = f"{shown}\n{outcome.value}" if shown else outcome.value
    if outcome.status in (ToolStatus.OK, ToolStatus.OUTPUT_LIMIT):
        return shorten(shown, max_chars)
    # The reason comes first and keeps its tail, which names the error; what was printed gets the rest.
    failure = shorten(f"{FAILED}: {_LIMITS.get(outcome.status, outcome.stderr.strip())}", max_chars)
    room = max_chars - len(failure)
    return f"{failure}\n{shorten(shown, room)}" if shown and room > 0 else failure


def shorten(text: str, max_chars: int) -> str:
    """`text`, or its head and tail around a mark that says how much is missing."""
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    head, tail = text[:half], text[len(text) - half :]
    return f"{head}\n... {len(text) - 2 * half} characters left out ...\n{tail}"
