"""The service under test: one that runs already, or one of our own, started for the purpose."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from yarl import URL

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox.bench.tree import pid_that_listens

_READY = re.compile(r"ready: (http://\S+)")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CONNECT_LIMIT_S, _START_LIMIT_S, _STOP_LIMIT_S = 10.0, 60.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to send programs, and whose CPU time to count."""

    url: str
    pid: int | None
    """Root of the service's processes, if they are on this machine."""
    folder: Path | None = None
    """Where it keeps its temporary files, if we know."""


async def running_service(url: str, *, pid: int | None = None) -> Target:
    """At this URL, where somebody listens; its process is looked up if it is on this machine and not told."""
    host, port = _host_and_port(url)
    try:
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # a timeout is one of them
        raise SandboxError(
            f"no service can be reached at {url} ({error or 'no answer'}): start one, or give another URL"
        ) from error
    writer.close()
    if pid is None and host in _LOOPBACK:
        pid = pid_that_listens(port)
    elif pid is not None and not psutil.pid_exists(pid):
        raise InputError(f"there is no process {pid}: give the --pid of the service, or none")
    return Target(url=url, pid=pid)


def _host_and_port(url: str) -> tuple[str, int]:
    with contextlib.suppress(ValueError):
        address = URL(url)
        if address.scheme in ("http", "https") and address.host and address.port:
            return address.host, address.port
    raise InputError(f"'{url}' is no server's address: write it as http://HOST:PORT")


@contextlib.asynccontextmanager
async def own_service(*, num_workers: int | None, isolation: str | None) -> AsyncIterator[Target]:
    """`rstar2 sandbox serve` on a free port of this machine; None takes its defaults."""
    options = [f"--workers={num_workers}"] if num_workers else []
    options += [f"--isolation={isolation}"] if isolation else []
    with tempfile.TemporaryDirectory(prefix="rstar2-bench-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from rstar2.cli import main; main()"),
            *("sandbox", "serve", "--port=0", *options),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"TMPDIR": folder},
        )
        try:
            yield Target(url=await _ready_url(process), pid=process.pid, folder=Path(folder))
        finally:
            await _stop(process)


async def _ready_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_LIMIT_S):
            line = (await process.stdout.readline()).decode()
    if (ready := _READY.match(line)) is None:
        raise SandboxError("the service did not start; run `rstar2 sandbox serve` alone to see why")
    return ready[1]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
