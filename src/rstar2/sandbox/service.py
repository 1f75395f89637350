"""The sandbox as a service to many: a fair, bounded queue before it, idempotency keys, counters, draining.

    submit --> FairQueue --> at most `num_workers` calls in the sandbox --> on_served of everybody who waits
       `-----> the same call, if its key is known: running (wait for it too) or ended (Recall)

It knows nothing of HTTP. Invariants: a call that was accepted is served exactly once to each that waits for
it; one that nobody waits for any more is taken out of the queue or stopped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rstar2.errors import InputError, SandboxError
from rstar2.ports import Sandbox
from rstar2.sandbox.fair_queue import FairQueue
from rstar2.sandbox.recall import Recall
from rstar2.sandbox.tally import Tally
from rstar2.types import JobKind, Program, ToolResult, ToolStatus

_log = logging.getLogger(__name__)


class Draining(SandboxError):
    """The service is about to end and takes nothing more."""


@dataclass(frozen=True, slots=True)
class Served:
    """A result, and how long its program waited for a worker."""

    result: ToolResult
    """Status INFRASTRUCTURE if the sandbox failed; stderr then holds the reason."""
    queue_s: float = 0.0
    has_run: bool = True
    """False if it was given up in the queue."""


OnServed = Callable[[Served], None]


@dataclass(slots=True, eq=False)
class Call:
    """A program on its way: in the queue without a task, in the sandbox with one; served with no waiters."""

    program: Program
    sandbox: Sandbox
    client: str
    name: Hashable
    """None without an idempotency key."""
    arrived_s: float
    waiters: list[OnServed]
    started_s: float = 0.0
    task: "asyncio.Task[ToolResult] | None" = None
    chain: Hashable = None


class Service:
    """Serves calls of many clients with one sandbox."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        num_workers: int,
        max_queued: int = 100_000,
        num_retries: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`num_workers` calls are in the sandbox at a time, `max_queued` wait before it.

        `num_retries` tells how often the sandbox had to try a call again so far.
        """
        self.num_workers = num_workers
        self.num_retries = num_retries
        self.tally = Tally()
        self.is_draining = False
        self._sandbox = sandbox
        self._clock = clock
        self._queue: FairQueue[Call] = FairQueue(max_queued)
        self._running: set[Call] = set()
        self._num_series = 0
        self._named: dict[Hashable, Call] = {}
        self._recall = Recall(clock)
        self._is_idle = asyncio.Event()

    @property
    def num_running(self) -> int:
        return len(self._running)

    def num_queued(self, kind: JobKind | None = None) -> int:
        """Of this kind, or of all."""
        return len(self._queue) if kind is None else self._queue.num_waiting(kind)

    def check_room(self, client: str, num_calls: int) -> None:
        """QueueFull or Draining if so many calls cannot be accepted now."""
        try:
            if self.is_draining:
                raise Draining("the service is shutting down; post to another one, or here a little later")
            self._queue.check_room(client, num_calls)
        except SandboxError:
            self.tally.num_refused += num_calls
            raise

    @contextmanager
    def series(self, client: str) -> Iterator[None]:
        """Accept calls that come one after the other as one, now or never; `drain` waits for its end."""
        self.check_room(client, 1)
        self._num_series += 1
        try:
            yield
        finally:
            self._num_series -= 1
            self._look_around()

    async def run(
        self,
        program: Program,
        *,
        client: str = "",
        key: str | None = None,
        sandbox: Sandbox | None = None,
        chain: Hashable = None,
        is_accepted: bool = False,
    ) -> Served:
        """Submit and wait; who is cancelled here takes his call back."""
        answer: asyncio.Future[Served] = asyncio.get_running_loop().create_future()

        def on_served(served: Served) -> None:
            if not answer.done():
                answer.set_result(served)

        call = self.submit(
            program,
            on_served,
            client=client,
            key=key,
            sandbox=sandbox,
            chain=chain,
            is_accepted=is_accepted,
        )
        try:
            return await answer
        finally:
            self.abandon(call, on_served)

    def submit(
        self,
        program: Program,
        on_served: OnServed,
        *,
        client: str = "",
        key: str | None = None,
        sandbox: Sandbox | None = None,
        chain: Hashable = None,
        is_accepted: bool = False,
    ) -> Call:
        """Have `on_served` called, later, with the result; QueueFull or Draining if it cannot be accepted.

        A key names a call of this client with this program. A call with a known name does not run again.
        `sandbox`, by default that of the service, must be equal to itself when it is made again for a key.
        Calls of one `chain` run one after another, each queued when the one before it has ended. Those of a
        `series` that is open are accepted already.
        """
        sandbox = sandbox or self._sandbox
        name = (client, key, hash((program, sandbox))) if key is not None else None
        known = self._known(name, on_served)
        if known is not None:
            self.tally.num_repeated += 1
            return known
        if not is_accepted:
            self.check_room(client, 1)
        call = Call(program, sandbox, client, name, self._clock(), [on_served], chain=chain)
        self._queue.push(client, program.kind, call, chain=chain)
        if name is not None:
            self._named[name] = call
        self._start_next()
        return call

    def abandon(self, call: Call, on_served: OnServed) -> None:
        """Stop waiting; nothing happens to a call that was served or that others wait for too."""
        if on_served not in call.waiters:
            return
        call.waiters.remove(on_served)
        if not call.waiters:
            self.tally.num_abandoned += 1
            self._named.pop(call.name, None)
            if call.task is not None:
                call.task.cancel()
            else:
                self._queue.remove(call.client, call.program.kind, call, chain=call.chain)
                self._look_around()

    def give_up(self, call: Call, on_served: OnServed) -> None:
        """Serve a call that still waits in the queue with the news that it was not run."""
        if call.task is None and on_served in call.waiters:
            self.abandon(call, on_served)
            queue_s = self._clock() - call.arrived_s
            reason = f"the job waited {queue_s:.1f} s for a worker and was not run; post it again"
            on_served(Served(_failure(reason), queue_s, has_run=False))

    async def drain(self) -> None:
        """Accept nothing more; return when everything that was accepted has been served."""
        self.is_draining = True
        self._look_around()
        await self._is_idle.wait()

    def _known(self, name: Hashable, on_served: OnServed) -> Call | None:
        """The call of this name, waited for by one more; None if there is none."""
        if name is None:
            return None
        if name in self._named:
            self._named[name].waiters.append(on_served)
            return self._named[name]
        result = self._recall.get(name)
        if result is None:
            return None
        asyncio.get_running_loop().call_soon(on_served, Served(result))
        return Call(Program(code=""), self._sandbox, "", name, self._clock(), [])

    def _start_next(self) -> None:
        while self._queue.has_next and len(self._running) < self.num_workers:
            call = self._queue.pop()
            call.started_s = self._clock()
            call.task = asyncio.get_running_loop().create_task(self._result(call))
            # A callback rather than `finally`: it also runs for a task that is cancelled before it began.
            call.task.add_done_callback(partial(self._on_ended, call))
            self._running.add(call)

    async def _result(self, call: Call) -> ToolResult:
        try:
            return await call.sandbox.run(call.program)
        except (InputError, SandboxError) as error:
            return _failure(str(error))
        except Exception as error:  # of ours, or out of descriptors or memory: no call may be lost over it
            _log.exception("a call failed in the sandbox itself")
            return _failure(f"the sandbox failed ({type(error).__name__}); see the service's log")

    def _on_ended(self, call: Call, task: asyncio.Task[ToolResult]) -> None:
        self._running.remove(call)
        self._queue.let_next(call.chain)
        if call.waiters:
            self._serve(call, _failure("the sandbox was stopped") if task.cancelled() else task.result())
        self._start_next()
        self._look_around()

    def _serve(self, call: Call, result: ToolResult) -> None:
        self.tally.add(call.program.kind, result, self._clock() - call.arrived_s)
        if call.name is not None:
            del self._named[call.name]
            if result.status is not ToolStatus.INFRASTRUCTURE:
                self._recall.remember(call.name, result)
        served = Served(result, call.started_s - call.arrived_s)
        waiters, call.waiters = call.waiters, []
        for on_served in waiters:
            on_served(served)

    def _look_around(self) -> None:
        """Notice that nothing is left to do."""
        if self.is_draining and not self._running and not self._queue and not self._num_series:
            self._is_idle.set()


def _failure(reason: str) -> ToolResult:
    return ToolResult(status=ToolStatus.INFRASTRUCTURE, stderr=reason)
