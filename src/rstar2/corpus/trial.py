"""Runs the corpus's own snippets to learn what they print.

NOT a sandbox: it executes in this process and is only ever given text that `worked.py` wrote. It
answers with the same `ToolResult` that a sandbox gives, so that the tiny model reads in its
demonstrations what it will read in its rollouts.
"""

import contextlib
import io
import traceback

from rstar2.types import ToolResult, ToolStatus

FILE_NAME = "<code>"


def try_out(code: str) -> ToolResult:
    """Status, stdout and the traceback of a snippet that this package generated."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, FILE_NAME, "exec"), {"__name__": "__main__"})
    except Exception as error:  # whatever a broken snippet raises is its result
        return ToolResult(
            status=ToolStatus.EXCEPTION, stdout=printed.getvalue(), stderr=_last_line(error), exit_code=1
        )
    return ToolResult(status=ToolStatus.OK, stdout=printed.getvalue(), exit_code=0)


def _last_line(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()
