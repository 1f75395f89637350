"""A pool whose process has too few descriptors: each call fails as calls may, and costs none for good."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rstar2.errors import SandboxError
from rstar2.sandbox import WorkerPool
from rstar2.sandbox.sessions import SessionPool
from rstar2.types import Program

_FOR_A_CALL, _FOR_A_SESSION = 5, 11
"""Descriptors that one takes; the session's slot is born with one more than it keeps."""


def _open_fds() -> list[int]:
    with os.scandir("/proc/self/fd") as entries:
        return sorted(int(entry.name) for entry in entries)


@contextmanager
def _only_free(num_free: int) -> Iterator[None]:
    """So many descriptors can still be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_open_fds()[-1] + 20, limits[1]))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        for _ in range(num_free):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("num_free", [0, 1, _FOR_A_CALL - 1])
def test_a_call_that_finds_too_few_fails_and_leaves_none_open(
    runner: asyncio.Runner, pool: WorkerPool, num_free: int
) -> None:
    runner.run(pool.run(Program(code="1")))
    before = _open_fds()
    with _only_free(num_free), pytest.raises(SandboxError, match="ulimit -n"):
        runner.run(pool.run(Program(code="1")))
    assert _open_fds() == before
    with _only_free(_FOR_A_CALL):
        assert runner.run(pool.run(Program(code="6 * 7"))).value == "42"


def test_a_session_that_finds_too_few_fails_and_leaves_none_open(
    runner: asyncio.Runner, pool: WorkerPool
) -> None:
    async def scenario() -> None:
        async with SessionPool(pool) as sessions:
            for num_free in range(_FOR_A_SESSION):
                with _only_free(num_free), pytest.raises(SandboxError, match="ulimit -n"):
                    await sessions.run_cell("a", Program(code="1"))
                await sessions.end("a")
            with _only_free(_FOR_A_SESSION):
                assert (await sessions.run_cell("a", Program(code="6 * 7"))).value == "42"

    runner.run(pool.run(Program(code="1")))
    before = _open_fds()
    runner.run(scenario())
    assert _open_fds() == before


_ONE_CALL = """
import asyncio, resource, sys
from rstar2.errors import SandboxError
from rstar2.sandbox import WorkerPool
from rstar2.types import Program

async def call():
    async with WorkerPool(num_workers=1, libraries=()) as pool:
        print((await pool.run(Program(code="6 * 7"))).value)

resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
try:
    asyncio.run(call())
except SandboxError as error:
    print(error)
"""


@pytest.mark.parametrize(("hard_limit", "said"), [(512, "42\n"), (511, "511 descriptors are too few")])
def test_a_low_soft_limit_is_raised_and_a_low_hard_one_is_refused(hard_limit: int, said: str) -> None:
    command = [sys.executable, "-c", _ONE_CALL, str(hard_limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20)
    assert done.stdout.startswith(said)
