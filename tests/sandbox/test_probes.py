"""The attack tests: no probe gets through at either sealed level, and the probes can tell."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from rstar2.errors import SandboxError
from rstar2.sandbox import WorkerPool
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.probes import HELD, PROBES, Probe
from rstar2.types import Program, ToolResult

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="level 'full' needs root")


async def _last_result(pool: WorkerPool, probe: Probe) -> ToolResult:
    """A pool gives the slot that was used last: the later programs meet what the first one left."""
    return [await pool.run(Program(code=code, time_limit_s=5.0)) for code in probe.programs][-1]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe.kind}-{probe.name}".replace(" ", "-"))
def test_no_probe_gets_through(runner: asyncio.Runner, pool: WorkerPool, probe: Probe) -> None:
    result = runner.run(_last_result(pool, probe))
    assert result.stdout == f"{HELD}\n", result
    assert runner.run(pool.run(Program(code="6 * 7"))).value == "42"


def test_every_class_has_at_least_three_probes() -> None:
    kinds = [probe.kind for probe in PROBES]
    assert min(kinds.count(kind) for kind in kinds) >= 3


def test_the_probes_notice_an_open_sandbox(runner: asyncio.Runner) -> None:
    harmless = {"files of the host", "internet sockets", "loopback services", "other families"}

    async def scenario() -> list[ToolResult]:
        async with WorkerPool(num_workers=1, isolation=Isolation.NONE, libraries=()) as pool:
            return [await _last_result(pool, probe) for probe in PROBES if probe.name in harmless]

    results = runner.run(scenario())
    assert len(results) == len(harmless)
    assert all(result.stdout.startswith("breached") for result in results)


@needs_root
def test_the_level_for_ordinary_users_is_refused_to_root(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        with pytest.raises(SandboxError, match="ordinary users"):
            async with WorkerPool(num_workers=1, isolation=Isolation.USER, libraries=()):
                pass

    runner.run(scenario())


_AS_AN_ORDINARY_USER = """
import asyncio, json, os, sys
from pathlib import Path
from rstar2.sandbox import WorkerPool, kernel, probes
from rstar2.types import Program

def become_an_ordinary_user(prefix):
    "Also where the interpreter lives in a folder that is closed to others, such as /root."
    top = "/" + prefix.split("/")[1]
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    if not os.stat(top).st_mode & 0o001:
        inside = os.open(prefix, os.O_PATH)
        kernel.mount("tmpfs", top, "tmpfs", options="mode=755")
        os.makedirs(prefix)
        kernel.mount(f"/proc/self/fd/{inside}", prefix, flags=kernel.MS_BIND | kernel.MS_REC)
    os.setgroups([])
    os.setresgid(54321, 54321, 54321)
    os.setresuid(54321, 54321, 54321)

async def verdicts():
    async with WorkerPool(num_workers=1) as pool:
        found = {"level": pool.isolation}
        for probe in probes.PROBES:
            results = [await pool.run(Program(code=code, time_limit_s=5.0)) for code in probe.programs]
            found[f"{probe.kind}: {probe.name}"] = results[-1].stdout.strip()
        return found

become_an_ordinary_user(sys.base_prefix)
print(json.dumps(asyncio.run(verdicts())))
"""


@pytest.mark.integration
@needs_root
def test_no_probe_gets_through_where_an_ordinary_user_serves() -> None:
    command = [sys.executable, "-c", _AS_AN_ORDINARY_USER]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts.pop("level") == Isolation.USER
    assert verdicts == {f"{probe.kind}: {probe.name}": HELD for probe in PROBES}
