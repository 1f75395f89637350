"""What is measured: a service that runs already, one that is started for it, or a pool in this process."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rstar2.bearer_token import read_token
from rstar2.errors import InputError
from rstar2.sandbox.bench.caller import Caller, SandboxCaller
from rstar2.sandbox.bench.dialects import DIALECTS
from rstar2.sandbox.bench.over_http import HttpCaller
from rstar2.sandbox.bench.target import Target, own_service, running_service
from rstar2.sandbox.bench.tree import ProcessTree
from rstar2.sandbox.client import ClusterSandbox
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.pool import WorkerPool

IN_PROCESS = "in-process"
"""No API at all."""
CLIENT = "client"
"""The native API, through our own client."""
APIS = (*DIALECTS, CLIENT, IN_PROCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Where it is, or how it is to be started."""

    url: str | None = None
    """None: a service of our own is started."""
    pid: int | None = None
    """None: whoever listens there."""
    token_file: Path | None = None
    num_workers: int | None = None
    isolation: str | None = None

    @property
    def token(self) -> str:
        return read_token(self.token_file, setting="--token-file") if self.token_file else ""

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[Target]:
        if self.url is not None:
            yield await running_service(self.url, pid=self.pid)
            return
        async with own_service(num_workers=self.num_workers, isolation=self.isolation) as target:
            yield target

    def pool(self) -> WorkerPool:
        isolation = Isolation(self.isolation) if self.isolation else None
        return WorkerPool(num_workers=self.num_workers, isolation=isolation)


class Callers:
    """Callers of one open subject, closed together with it."""

    def __init__(self, subject: Subject, target: Target | None, parts: AsyncExitStack) -> None:
        """`target` None: a pool in this process."""
        self._subject = subject
        self._target = target
        self._parts = parts

    async def open(self, api: str, *, client: str, deadline_s: float) -> Caller:
        """`client` is the name under which a fair service counts the calls."""
        if self._target is None:
            return SandboxCaller(await self._parts.enter_async_context(self._subject.pool()))
        url, token = self._target.url, self._subject.token
        if api == CLIENT:
            sandbox = ClusterSandbox([url], token=token, client=client)
            return SandboxCaller(await self._parts.enter_async_context(sandbox))
        caller = HttpCaller(url, DIALECTS[api], client=client, deadline_s=deadline_s, token=token)
        return await self._parts.enter_async_context(caller)

    @property
    def tree(self) -> ProcessTree | None:
        """The service's processes if they can be seen; those of a pool include our own."""
        if self._target is None:
            return ProcessTree()
        return ProcessTree(self._target.pid) if self._target.pid is not None else None


def checked_apis(apis: str) -> list[str]:
    """Names separated by commas; InputError for one that is unknown."""
    names = apis.split(",")
    for name in names:
        if name not in APIS:
            raise InputError(f"there is no API '{name}': take one of {', '.join(APIS)}")
    return names


@contextlib.asynccontextmanager
async def opened(subject: Subject, *, in_process: bool) -> AsyncIterator[Callers]:
    async with AsyncExitStack() as parts:
        target = None if in_process else await parts.enter_async_context(subject.service())
        yield Callers(subject, target, parts)


def by_place(apis: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """(whether in this process, neighbouring APIs that share it): one service serves them all."""
    for in_process, group in groupby(apis, key=lambda api: api == IN_PROCESS):
        yield in_process, list(group)
