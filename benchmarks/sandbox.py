"""What a call of the in-process sandbox costs: `python benchmarks/sandbox.py`.

Per kind of program: calls per second, and CPU milliseconds per call of the whole tree (this process, the
mother, the zygotes, the programs) less what the program itself used between its first and its last line.
The floor is measured in the same run: fork, exit and wait of an equally warm interpreter that does nothing.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time

import psutil

from rstar2.sandbox import WorkerPool
from rstar2.sandbox.jail import Isolation
from rstar2.types import Program, ToolStatus

_KINDS = {
    "trivial": "1 + 1",
    "numpy": "import numpy\nnumpy.linalg.solve(numpy.eye(50) + 1, numpy.ones(50))",
    "sympy": "import sympy\nx = sympy.Symbol('x')\nsympy.solve(x**2 - 7 * x + 10, x)",
    "error": "def f(n): return 1 / n\nf(0)",
}

_FLOOR = """
import gc, os, resource
from rstar2.sandbox import pages, warmth
warmth.warm_up(warmth.LIBRARIES)
gc.collect()
gc.freeze()
pages.collapse_heap()
def cpu_s():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
before_s = cpu_s()
for _ in range({count}):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
print((cpu_s() - before_s) / {count} * 1000)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=500, help="per kind")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--isolation", type=Isolation, default=Isolation.default(), choices=list(Isolation))
    options = parser.parse_args()
    print(f"fork floor: {_fork_floor_ms(options.calls):.2f} ms CPU")
    asyncio.run(_measure(options.calls, options.workers, options.isolation))


def _fork_floor_ms(count: int) -> float:
    command = [sys.executable, "-c", _FLOOR.format(count=count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def _measure(num_calls: int, num_workers: int, isolation: Isolation) -> None:
    started_s = time.monotonic()
    async with WorkerPool(num_workers=num_workers, isolation=isolation) as pool:
        print(f"isolation {isolation}, {num_workers} workers, start-up {time.monotonic() - started_s:.2f} s")
        print(f"{'kind':10}{'calls/s':>10}{'overhead, ms CPU':>20}{'own, ms CPU':>15}")
        for kind, code in _KINDS.items():
            await _measure_kind(pool, kind, code, num_calls)


async def _measure_kind(pool: WorkerPool, kind: str, code: str, num_calls: int) -> None:
    program = Program(code=f"import time; _started = time.process_time()\n{_timed(code)}")
    cpu_before_s, started_s = _tree_cpu_s(), time.monotonic()
    results = await asyncio.gather(*(pool.run(program) for _ in range(num_calls)))
    wall_s, cpu_s = time.monotonic() - started_s, _tree_cpu_s() - cpu_before_s
    assert {result.status for result in results} == {
        ToolStatus.EXCEPTION if kind == "error" else ToolStatus.OK
    }
    own_s = sum(float(result.stdout) for result in results)
    overhead_ms, own_ms = ((cpu_s - own_s) / num_calls * 1000, own_s / num_calls * 1000)
    print(f"{kind:10}{num_calls / wall_s:10.0f}{overhead_ms:20.2f}{own_ms:15.2f}")


def _timed(code: str) -> str:
    """The program, and then its CPU seconds on stdout, whatever becomes of it."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    return f"try:\n{body}\nfinally:\n    print(time.process_time() - _started)"


def _tree_cpu_s() -> float:
    """CPU seconds of this process and of all below it, those that have ended included."""
    this = psutil.Process()
    own = this.cpu_times()
    below = (process.cpu_times() for process in this.children(recursive=True))
    return own.user + own.system + sum(t.user + t.system + t.children_user + t.children_system for t in below)


if __name__ == "__main__":
    main()
