"""`rstar2 doctor`: what this machine can do, and whether its sandbox holds."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from rstar2.console import console
from rstar2.doctor import Finding, examine
from rstar2.errors import SandboxError
from rstar2.sandbox.host import probe_host
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.pool import WorkerPool
from rstar2.sandbox.probes import HELD, PROBES, Probe
from rstar2.types import Program


def check_machine() -> bool:
    """Print all findings; whether everything that is required is there."""
    findings = [*examine(Path()), *_features(), asyncio.run(_sandbox())]
    for finding in findings:
        _show(finding)
    is_fit = all(finding.ok for finding in findings if finding.required)
    console.print("\nThis machine can run rstar2." if is_fit else "\nSomething that is needed is not there.")
    return is_fit


def _show(finding: Finding) -> None:
    lack = ("NEEDED", "red") if finding.required else ("lack", "yellow")
    word, style = ("ok", "green") if finding.ok else lack
    console.print(f"{word:>6}", style=style, end="  ")
    console.print(f"{finding.name}: {finding.found}", soft_wrap=True)
    if not finding.ok:
        console.print(f"        {finding.remedy}", style="dim", soft_wrap=True)


def _features() -> Iterator[Finding]:
    for feature in probe_host():
        yield Finding(
            name=f"sandbox {feature.name}",
            ok=feature.is_available,
            found=feature.lack or "works",
            remedy=feature.remedy,
            required=feature.is_required,
        )


async def _sandbox(probes: Sequence[Probe] = PROBES) -> Finding:
    """The level that programs would run at here, tried with hostile programs."""
    level = Isolation.default()
    try:
        async with WorkerPool(num_workers=1, isolation=level, libraries=()) as pool:
            breached = [f"{p.kind}: {p.name}" for p in probes if not await _holds(pool, p)]
    except SandboxError as error:
        breached = [str(error)]
    verdict = f"{len(probes) - len(breached)} of {len(probes)} attacks refused"
    return Finding(
        name="sandbox",
        ok=not breached,
        found="; ".join([f"level '{level}', {verdict}", *breached]),
        remedy="run only programs that you trust on this machine",
    )


async def _holds(pool: WorkerPool, probe: Probe) -> bool:
    results = [await pool.run(Program(code=code, time_limit_s=5.0)) for code in probe.programs]
    return results[-1].stdout.strip() == HELD
