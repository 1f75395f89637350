"""The in-process Sandbox: a pool of warm interpreters on this machine.

One mother process imports the heavy libraries; each slot is a zygote forked from her that forks a child per
call. Calls beyond the number of slots wait in arrival order. Exactly one result per call: a worker that dies
is replaced and its call tried once more, a call that is cancelled is stopped before its slot serves another.
"""

import asyncio
import heapq
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox import cgroup, descriptors
from rstar2.sandbox.capture import LARGEST_FILE_BYTES, Capture
from rstar2.sandbox.jail import MOST_WORKERS, Isolation
from rstar2.sandbox.nursery import Nursery
from rstar2.sandbox.paths import check_files
from rstar2.sandbox.slot import Slot, SlotDied
from rstar2.sandbox.turnstile import Turnstile
from rstar2.sandbox.warmth import LIBRARIES
from rstar2.sandbox.wire import Request, SlotOrder
from rstar2.types import Program, ToolResult

_NUM_ATTEMPTS = 2
_NUM_FAST_SLOTS = 2 * (os.cpu_count() or 1)
"""Enough to keep the cores busy with programs that do not wait; they cost memory."""


@dataclass(slots=True)
class _Place:
    """Where a slot lives; an empty place is filled by the next call that gets it."""

    order: SlotOrder
    slot: Slot | None = None


class WorkerPool:
    """A `Sandbox` on this machine; use as `async with WorkerPool(num_workers=8) as sandbox`."""

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        isolation: Isolation | None = None,
        libraries: Sequence[str] = LIBRARIES,
    ) -> None:
        """`num_workers` programs run at a time; default: four per core, as sleeping ones hold slots.

        `libraries` are imported before any program runs; fewer of them make a call cheaper.
        """
        self.num_workers = num_workers or 4 * (os.cpu_count() or 1)
        if self.num_workers > MOST_WORKERS:
            raise InputError(
                f"{self.num_workers} workers are too many for one pool: use at most {MOST_WORKERS}"
            )
        self.isolation = isolation or Isolation.default()
        self._folder = Path(tempfile.gettempdir(), f"{cgroup.POOL_PREFIX}{uuid4().hex}")
        """Made when the pool is opened."""
        self._nursery = Nursery(self._folder, self.isolation, libraries)
        self._places = [_Place(self._order(number)) for number in range(self.num_workers)]
        self._idle = list(range(self.num_workers))
        """Heap of places: the first ones, which own memory, serve whenever they can."""
        self._permits = asyncio.Semaphore(self.num_workers)
        self._turnstile = Turnstile(_NUM_FAST_SLOTS)
        self._is_closed = False
        self.num_retries = 0
        """Calls that were tried once more because their worker died."""

    async def __aenter__(self) -> Self:
        cgroup.remove_groups()  # of pools that were killed, mother and all
        descriptors.allow_many()
        try:
            with descriptors.lack_is_told():
                self._folder.mkdir(mode=0o700)
                for outcome in await asyncio.gather(*map(self._fill, self._places), return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self, program: Program) -> ToolResult:
        """Run it in the next free slot; SandboxError if the sandbox failed, twice if it was a worker."""
        async with self._permits:
            youth = await self._turnstile.enter()
            number = heapq.heappop(self._idle)
            try:
                with descriptors.lack_is_told():
                    return await self._run_at(self._places[number], program)
            finally:
                heapq.heappush(self._idle, number)
                youth.end()

    async def extra_slot(self, number: int) -> Slot:
        """A slot beyond those of the pool, for the caller alone; its number is from 0 on.

        The caller closes it and says so by `extra_slot_closed`, which frees the number.
        """
        self._check_open()
        order = SlotOrder(number=self.num_workers + number, home=self._extra_home(number))
        order.home.mkdir()
        return await self._nursery.new_slot(order)

    def extra_slot_closed(self, number: int) -> None:
        """Nothing of the slot stays, whether it was born or not."""
        shutil.rmtree(self._extra_home(number), ignore_errors=True)

    async def close(self) -> None:
        """End every process of the pool; calls in flight and in the queue raise SandboxError."""
        self._is_closed = True
        await asyncio.gather(*(place.slot.close() for place in self._places if place.slot is not None))
        await self._nursery.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_open(self) -> None:
        if self._is_closed:
            raise SandboxError("the sandbox is closed; open a new pool to run programs")

    def _extra_home(self, number: int) -> Path:
        return self._folder / f"extra-{number}"

    def _order(self, number: int) -> SlotOrder:
        home = self._folder / f"{number}"
        return SlotOrder(number=number, home=home, owns_memory=number < _NUM_FAST_SLOTS)

    async def _run_at(self, place: _Place, program: Program) -> ToolResult:
        for attempt in range(1, _NUM_ATTEMPTS + 1):
            try:
                return await _run_on(await self._fill(place), program)
            except SlotDied:
                if attempt == _NUM_ATTEMPTS:
                    raise
                self.num_retries += 1
        raise AssertionError("unreachable")

    async def _fill(self, place: _Place) -> Slot:
        """The place's slot, alive and idle."""
        if place.slot is not None:
            await place.slot.settle()
        if place.slot is None or not place.slot.is_alive:
            self._check_open()
            if place.slot is not None:
                await place.slot.close()
                place.slot = None
            place.order.home.mkdir(exist_ok=True)
            place.slot = await self._nursery.new_slot(place.order)
            if self._is_closed:  # by somebody else, meanwhile
                await place.slot.close()
        return place.slot


async def _run_on(slot: Slot, program: Program) -> ToolResult:
    assert program.time_limit_s > 0
    check_files(program)
    request = Request(
        time_limit_s=program.time_limit_s,
        memory_limit_bytes=program.memory_limit_mb << 20,
        file_limit_bytes=LARGEST_FILE_BYTES,
        wants_value=program.wants_value,
    )
    with Capture(program) as capture:
        try:
            return capture.result(await asyncio.shield(slot.call(request, capture.fds)))
        except asyncio.CancelledError:
            slot.interrupt()
            raise
