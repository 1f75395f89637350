"""What lives in the process of a sandbox node: the sandbox server, as a child that cannot outlive it."""

import asyncio
import os
import re
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray

from rstar2.errors import SandboxError

_READY = re.compile(r"^ready: (http://\S+) ")
_DRAIN_S = 5.0
_CHILD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end when the parent does
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit(1)
from rstar2.cli import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOrder:
    """How a node's server is to be."""

    token: str
    num_workers: int
    isolation: str | None
    """None for the strongest that its user can have."""


class SandboxActor:
    """Keeps nothing alive: when the server ends, that is told, and the node is replaced."""

    def __init__(self) -> None:
        self._server: Process

    async def start(self, order: ServerOrder) -> str:
        """The server's URL, at the node's address of the cluster's network."""
        with tempfile.TemporaryDirectory(prefix="rstar2-token-") as folder:
            token_file = Path(folder) / "token"
            token_file.touch(mode=0o600)
            token_file.write_text(order.token)
            self._server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _CHILD, str(os.getpid())),
                *_arguments(order, token_file),
                stdout=PIPE,
            )
            assert self._server.stdout is not None
            ready = (await self._server.stdout.readline()).decode()
        if not (match := _READY.match(ready)):
            raise SandboxError(
                f"a sandbox server did not start: {ready.strip() or 'see the log of its node'}"
            )
        return match[1]

    async def ended(self) -> int:
        """The server's exit code, when it has one."""
        assert self._server.stdout is not None
        while await self._server.stdout.readline():  # or it would wait for us to read
            pass
        return await self._server.wait()

    async def close(self) -> None:
        """Ask it to leave, and wait until nothing of it is left."""
        self._server.terminate()
        try:
            await asyncio.wait_for(self._server.wait(), 2 * _DRAIN_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """At once: a server that hangs hears nothing."""
        with suppress(ProcessLookupError):
            self._server.kill()
        await self._server.wait()


def _arguments(order: ServerOrder, token_file: Path) -> list[str]:
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    isolation = ["--isolation", order.isolation] if order.isolation else []
    return [
        *("sandbox", "serve", "--host", host, "--port", "0", "--drain-s", str(_DRAIN_S)),
        *("--workers", str(order.num_workers), "--token-file", str(token_file), *isolation),
    ]
