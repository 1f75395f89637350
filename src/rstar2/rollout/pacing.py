"""When a tool result becomes visible to its rollout: at once, or at a fixed engine step.

Tool latencies differ from run to run; if results entered as they come, batches would be composed
differently each time and the last bits of the log-probs with them. `StepPacer` counts engine steps
instead of seconds: a result is delivered exactly `delay_steps` after its call, and the engine waits in
the rare case that it is not there yet. The tools still run meanwhile; only the delivery is fixed. So a
run on CPU repeats bit by bit, which exact resume rests on. Engines that share a pacer share its count, and
wait together: how far one gets must not depend on how long another waits for a tool.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Pacer(Protocol):
    """Hands tool results to rollouts."""

    async def deliver(self, work: Awaitable[T]) -> T:
        """The result of `work`, when it may be seen."""


class FreePacer:
    """Every result at once: fastest, and different from run to run."""

    num_waits = 0

    async def deliver(self, work: Awaitable[T]) -> T:
        return await work


class StepPacer:
    """Every result `delay_steps` engine steps after its call, in the order of the calls."""

    def __init__(self, delay_steps: int) -> None:
        self._delay_steps = delay_steps
        self._step = 0
        self._due: deque[tuple[int, asyncio.Future[None], asyncio.Future[None]]] = deque()
        self._turn = asyncio.Lock()
        self.on_call: Sequence[Callable[[], None]] = ()
        """Called at every tool call: wakes the engines, so that an idle one comes to `pace` again."""
        self.num_waits = 0
        """Deliveries for which the engine had to wait: raise `tool_delay_steps` if there are many."""

    async def deliver(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        finished = asyncio.ensure_future(_settled(task))
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._due.append((self._step + self._delay_steps, finished, gate))
        for wake in self.on_call:
            wake()
        try:
            await gate
        except asyncio.CancelledError:
            task.cancel()
            raise
        return await task

    async def pace(self, busy: bool) -> None:
        """The engine's hook before each of its steps; an idle engine jumps to the next delivery."""
        async with self._turn:
            await self._advance(busy)

    async def _advance(self, busy: bool) -> None:
        self._step += 1
        if not busy and self._due:
            self._step = max(self._step, self._due[0][0])
        delivered = False
        while self._due and self._due[0][0] <= self._step:
            _, finished, gate = self._due.popleft()
            self.num_waits += not finished.done()
            await finished
            delivered = True
            if not gate.done():
                gate.set_result(None)
        if delivered:
            # Two turns of the loop: the rollout wakes, and what it awaits is submitted.
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def _settled(task: "asyncio.Future[T]") -> None:
    """Waits for `task` without raising what it raises: that belongs to the caller of `deliver`."""
    await asyncio.wait([task])
