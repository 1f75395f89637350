"""What sessions cost: `python benchmarks/sessions.py`.

A cell of a live session, the first cell of a new one, and a cell of one that has to be rebuilt from ten
earlier cells, beside a program of its own each time in the pool; wall and CPU time of the whole tree (this
process, the mother, the zygotes, the sessions), and the memory that a live session has to itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil

from rstar2.sandbox import WorkerPool
from rstar2.sandbox.bench.tree import ProcessTree
from rstar2.sandbox.sessions import SessionPool
from rstar2.types import Program, ToolStatus

_CELL = Program(code="x = sum(range(100))\nx")
_NUM_CALLS = 200
_NUM_EARLIER_CELLS = 10


async def main() -> None:
    async with WorkerPool(num_workers=2) as pool, SessionPool(pool, max_live=2) as sessions:

        async def in_the_pool(n: int) -> None:
            assert (await pool.run(_CELL)).value == "4950"

        async def cell(name: str) -> None:
            result = await sessions.run_cell(name, _CELL)
            assert (result.status, result.value) == (ToolStatus.OK, "4950")

        await _measure("a program in the pool", in_the_pool)
        await _measure("a cell of a live session", lambda n: cell("live"))
        print(f"memory of a live session: {_own_memory_mib():.1f} MiB")
        await _measure("the first cell of a session", lambda n: cell(f"new {n}"))
        for _ in range(_NUM_EARLIER_CELLS):
            await asyncio.gather(*(cell(name) for name in "abc"))
        # Three sessions take turns at two places: each is asleep when its turn comes.
        await _measure("a cell of a session to rebuild", lambda n: cell("abc"[n % 3]), num_calls=30)


async def _measure(what: str, act: Callable[[int], Awaitable[None]], num_calls: int = _NUM_CALLS) -> None:
    """The mother ignores her children's deaths: what a session used is counted only while it lives."""
    await act(0)
    tree = ProcessTree()
    wall_s, cpu_s = time.monotonic(), tree.cpu_s()
    for n in range(1, num_calls + 1):
        await act(n)
    wall_s, cpu_s = time.monotonic() - wall_s, tree.cpu_s() - cpu_s
    print(f"{what}: {wall_s / num_calls * 1e3:.2f} ms wall, {cpu_s / num_calls * 1e3:.2f} ms CPU")


def _own_memory_mib() -> float:
    """Pages that no other process shares, of the one session that is live."""
    session = max(psutil.Process().children(recursive=True), key=lambda each: each.create_time())
    return float(session.memory_full_info().uss) / (1 << 20)


if __name__ == "__main__":
    asyncio.run(main())
