"""What a call costs beyond its program, kind by kind, beside the least that any forking sandbox costs.

Programs measure themselves from their first to their last line; the rest of the CPU time that the service's
processes used in the meantime is overhead. The floor: fork, exit and wait of an equally warm interpreter that
does nothing, in this very run, as milliseconds do not carry over between machines and ratios do.
"""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass

from rstar2.errors import SandboxError
from rstar2.sandbox.bench.caller import Caller, Unanswered
from rstar2.sandbox.bench.tree import ProcessTree
from rstar2.types import Program, ToolResult, ToolStatus

_CODE = {
    "trivial": "1 + 1",
    "numpy": "import numpy\nnumpy.linalg.solve(numpy.eye(50) + 1, numpy.ones(50))",
    "sympy": "import sympy\nx = sympy.Symbol('x')\nsympy.solve(x**2 - 7 * x + 10, x)",
    "error": "def f(n): return 1 / n\nf(0)",
}
KINDS = tuple(_CODE)

_FLOOR = """
import gc, os, resource
from rstar2.sandbox import pages, warmth
warmth.warm_up(warmth.LIBRARIES)
gc.collect()
gc.freeze()
pages.collapse(pages.private_ranges())
def cpu_s():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
before_s = cpu_s()
for _ in range({count}):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
print((cpu_s() - before_s) / {count})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Of one kind of program; CPU seconds per call."""

    kind: str
    calls_per_s: float
    overhead_s: float
    own_s: float
    """Used by the program itself."""


def fork_floor_s(num_forks: int) -> float:
    """CPU seconds of one fork, exit and wait."""
    command = [sys.executable, "-c", _FLOOR.format(count=num_forks)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def overhead(
    caller: Caller, tree: ProcessTree, kind: str, *, num_calls: int, in_flight: int
) -> Overhead:
    """Of `num_calls` calls of one kind; SandboxError if a program did not do what it should, or is lost."""
    program = Program(code=_timing_itself(_CODE[kind]), time_limit_s=60.0)
    batch_size = min(caller.batch_size, in_flight, num_calls)
    permits = asyncio.Semaphore(in_flight // batch_size)

    async def call() -> list[ToolResult]:
        async with permits:
            return list(await caller.call([program] * batch_size))

    cpu_before_s, started_s = tree.cpu_s(), time.perf_counter()
    try:
        batches = await asyncio.gather(*(call() for _ in range(num_calls // batch_size)))
    except Unanswered as failure:
        raise SandboxError(f"a {kind} program is lost ({failure}): check the URL and --api") from failure
    wall_s, cpu_s = time.perf_counter() - started_s, tree.cpu_s() - cpu_before_s
    results = [result for batch in batches for result in batch]
    own_s = sum(_own_cpu_s(kind, result) for result in results) / len(results)
    return Overhead(
        kind=kind,
        calls_per_s=len(results) / wall_s,
        overhead_s=cpu_s / len(results) - own_s,
        own_s=own_s,
    )


def _timing_itself(code: str) -> str:
    """The program, and then its CPU seconds on stdout, whatever becomes of it."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    timing = "print(time.process_time() - _started_s)"
    return f"import time\n_started_s = time.process_time()\ntry:\n{body}\nfinally:\n    {timing}"


def _own_cpu_s(kind: str, result: ToolResult) -> float:
    expected = ToolStatus.EXCEPTION if kind == "error" else ToolStatus.OK
    if result.status is not expected:
        raise SandboxError(f"a {kind} program should end as '{expected}' and did not: {result}")
    return float(result.stdout)
