"""One pool for all tests of the sandbox: they talk to it as a caller does, one program at a time."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from rstar2.sandbox import WorkerPool
from rstar2.types import Program, ToolResult

Run = Callable[..., ToolResult]


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def pool(runner: asyncio.Runner) -> Iterator[WorkerPool]:
    pool = WorkerPool(num_workers=2)
    runner.run(pool.__aenter__())
    yield pool
    runner.run(pool.close())


@pytest.fixture
def run(runner: asyncio.Runner, pool: WorkerPool) -> Run:
    """`run(code, **limits)` gives the program's result."""

    def run(code: str, **fields: object) -> ToolResult:
        return runner.run(pool.run(Program(code=code, **fields)))  # type: ignore[arg-type]

    return run
