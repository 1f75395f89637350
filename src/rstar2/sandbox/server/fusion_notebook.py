"""SandboxFusion's `/run_jupyter`: cells that run one after the other in a session of their own.

As in a notebook, an exception ends its cell and not those that follow; only the time for all of them ends the
run. The session ends with the request, however that ends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal, Self
from uuid import uuid4

from aiohttp import web
from pydantic import Field

from rstar2.sandbox.schema import Base64
from rstar2.sandbox.server.foreign import Message
from rstar2.sandbox.server.fusion_messages import (
    LONGEST_TIMEOUT_S,
    OUTPUT_LIMIT_CHARS,
    CommandRunResult,
    CommandStatus,
    RunStatus,
    SentFiles,
    Timeout,
    memory_limit_mb,
    sent_files,
)
from rstar2.sandbox.server.route import SERVICE, SESSIONS, Route, client_of, json_response, read_body
from rstar2.sandbox.server.sessions import CellsOf
from rstar2.sandbox.service import Served
from rstar2.types import Program, ToolResult, ToolStatus

_MOST_CELLS = 1000
_TRACEBACK = "Traceback (most recent call last):\n"
_SYNTAX_ERROR = '  File "<cell '
"""How the report of a syntax error begins, which has no traceback."""


class RunJupyterRequest(Message):
    """Cells to run in their order."""

    cells: Annotated[list[str], Field(max_length=_MOST_CELLS)]
    cell_timeout: Annotated[float, Field(ge=0, le=LONGEST_TIMEOUT_S, allow_inf_nan=False)] = 0.0
    """Seconds for each cell; 0: as long as there is time for all."""
    total_timeout: Timeout = 45.0
    """Seconds for all cells together."""
    memory_limit_MB: int = -1
    kernel: Literal["python3"] = "python3"
    files: SentFiles = Field(default_factory=dict)
    fetch_files: list[str] = Field(default_factory=list)

    def program_of(self, number: int) -> Program:
        """The cell with this number; files come with the first one and are fetched after the last."""
        return Program(
            code=self.cells[number],
            files=sent_files(self.files) if number == 0 else (),
            fetch_files=tuple(self.fetch_files) if number == len(self.cells) - 1 else (),
            time_limit_s=self.cell_timeout or self.total_timeout,
            memory_limit_mb=memory_limit_mb(self.memory_limit_MB),
            output_limit_chars=OUTPUT_LIMIT_CHARS,
        )


class CellError(Message):
    """An exception that ended a cell, as a notebook tells it."""

    ename: str
    evalue: str
    traceback: list[str]


class CellRunResult(Message):
    """What became of a cell."""

    stdout: str
    stderr: str
    display: list[dict[str, str]]
    """The value of the last expression by media type, if it has one."""
    error: list[CellError]

    @classmethod
    def of(cls, result: ToolResult) -> Self:
        stderr, error = result.stderr, list[CellError]()
        if result.exit_code != 0:
            stderr, why = _parted(result.stderr)
            error = [_error_of(why, result.status)]
        display = [] if result.value is None else [{"text/plain": result.value}]
        return cls(stdout=result.stdout, stderr=stderr, display=display, error=error)


class RunJupyterResponse(Message):
    """What became of all cells."""

    status: RunStatus
    """`Success` also if cells raised exceptions."""
    message: str = ""
    driver: CommandRunResult | None = None
    cells: list[CellRunResult] = Field(default_factory=list)
    executor_pod_name: str | None = None
    files: dict[str, Base64] = Field(default_factory=dict)

    @classmethod
    def refused(cls, why: str) -> Self:
        return cls(status=RunStatus.SANDBOX_ERROR, message=why)


async def run_jupyter(request: web.Request) -> web.StreamResponse:
    asked = await read_body(request, RunJupyterRequest)
    sessions = request.app.get(SESSIONS)
    if sessions is None:
        return json_response(RunJupyterResponse.refused("this service has no sessions; post single programs"))
    service, client, cells = request.app[SERVICE], client_of(request), CellsOf(sessions, uuid4().hex)
    with service.series(client):
        try:
            run = partial(service.run, client=client, sandbox=cells, is_accepted=True)
            return json_response(await _run_cells(asked, run))
        finally:
            await cells.close()


async def _run_cells(
    asked: RunJupyterRequest, run: Callable[[Program], Awaitable[Served]]
) -> RunJupyterResponse:
    """Time in the queue counts as the cells' own: the client waits as long either way."""
    started_s = time.monotonic()
    results: list[ToolResult] = []
    try:
        async with asyncio.timeout(asked.total_timeout):  # takes back a cell that runs or waits
            for number in range(len(asked.cells)):
                result = (await run(asked.program_of(number))).result
                if result.status is ToolStatus.INFRASTRUCTURE:
                    return RunJupyterResponse.refused(result.stderr)
                results.append(result)
    except TimeoutError:
        late = CommandRunResult(status=CommandStatus.TIME_LIMIT_EXCEEDED, execution_time=asked.total_timeout)
        return RunJupyterResponse(status=RunStatus.FAILED, driver=late)
    return RunJupyterResponse(
        status=RunStatus.SUCCESS,
        driver=CommandRunResult(
            status=CommandStatus.FINISHED,
            execution_time=time.monotonic() - started_s,
            return_code=0,
            stdout="",
            stderr="",
        ),
        cells=[CellRunResult.of(result) for result in results],
        files=dict(results[-1].files) if results else {},
    )


def _parted(stderr: str) -> tuple[str, str]:
    """What a cell wrote itself, and the report of the exception that ended it."""
    start = stderr.rfind(_TRACEBACK)
    start = start if start >= 0 else max(stderr.rfind(_SYNTAX_ERROR), 0)
    return stderr[:start], stderr[start:]


def _error_of(report: str, status: ToolStatus) -> CellError:
    """The report's first line that is not indented names the exception; a death leaves no name."""
    lines = report.removeprefix(_TRACEBACK).splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith(" ")), None)
    name, _, value = "\n".join(lines[first:] if first is not None else ()).partition(": ")
    return CellError(ename=name or status, evalue=value, traceback=report.splitlines())


ROUTES = (
    Route(
        method="POST",
        path="/run_jupyter",
        handler=run_jupyter,
        summary="SandboxFusion: run the cells of a notebook.",
        request=RunJupyterRequest,
        response=RunJupyterResponse,
    ),
)
