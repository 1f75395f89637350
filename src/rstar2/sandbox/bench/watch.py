"""The clock, the cores and the service's processes, while a run lasts."""

import asyncio
import time
from dataclasses import dataclass
from typing import Self

import psutil

from rstar2.sandbox.bench.load import Record
from rstar2.sandbox.bench.tree import ProcessTree

MEASURED_SHARE = 0.95
"""Rate and busy cores are of the time in which so many of the calls were answered: after that the load has
run out, and what is left are mostly programs that sleep or never end."""

_MEMORY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """Of the machine's clocks, all cores together."""

    clock_s: float
    busy_s: float
    idle_s: float

    @classmethod
    def now(cls) -> Self:
        cores = psutil.cpu_times()
        busy_s = cores.user + cores.nice + cores.system + cores.irq + cores.softirq + cores.steal
        return cls(time.perf_counter(), busy_s, cores.idle + cores.iowait)


class Watch:
    """Takes the records of a run as they come; the run begins when it is made."""

    def __init__(self, num_calls: int, tree: ProcessTree | None) -> None:
        """`tree`: of the service, if its processes can be seen."""
        self.records: list[Record] = []
        self.peak_memory_bytes = 0
        self._num_measured = max(1, round(num_calls * MEASURED_SHARE))
        self._tree = tree
        self._tree_cpu_s = tree.cpu_s() if tree else 0.0
        self._start = self._end = _Reading.now()

    def record(self, record: Record) -> None:
        self.records.append(record)
        if len(self.records) == self._num_measured:
            self._end = _Reading.now()

    async def sample_memory(self) -> None:
        """Until cancelled; reading page tables takes a while, so a thread does it."""
        while self._tree:
            used_bytes = await asyncio.to_thread(self._tree.memory_bytes)
            self.peak_memory_bytes = max(self.peak_memory_bytes, used_bytes)
            await asyncio.sleep(_MEMORY_EVERY_S)

    @property
    def calls_per_s(self) -> float:
        """Answers per second of the measured time."""
        return self._num_measured / (self._end.clock_s - self._start.clock_s)

    @property
    def wall_s(self) -> float:
        """Of all the calls so far."""
        return time.perf_counter() - self._start.clock_s

    @property
    def busy_share(self) -> float:
        """Of all cores of the machine in the measured time, whoever kept them busy.

        0 if that was less than a tick of the kernel's clocks, 10 ms.
        """
        busy_s, idle_s = self._end.busy_s - self._start.busy_s, self._end.idle_s - self._start.idle_s
        passed_s = busy_s + idle_s
        return busy_s / passed_s if passed_s else 0.0

    @property
    def cpu_per_call_s(self) -> float | None:
        """Of the service and its programs; None if they cannot be seen."""
        return (self._tree.cpu_s() - self._tree_cpu_s) / len(self.records) if self._tree else None
