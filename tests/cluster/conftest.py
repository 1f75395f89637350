"""Remote objects without another process: they die when told to.

Test modules import Ray, which reads its environment then: as `runtime.connected` would set it.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rstar2.cluster.remote import Lost

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


class Here:
    """A `Remote` over an object of this process."""

    def __init__(self, target: object) -> None:
        self.target = target
        self.is_dead = False
        self._calls: set[asyncio.Task[Any]] = set()

    async def call(self, method: str, *args: object) -> Any:
        if self.is_dead:
            raise Lost("its process has ended")
        task = asyncio.ensure_future(getattr(self.target, method)(*args))
        self._calls.add(task)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:  # who waits has gone; the process knows nothing of it
            raise
        if task.cancelled():
            raise Lost("its process was killed")
        return task.result()

    def tell(self, method: str, *args: object) -> None:
        if not self.is_dead:
            self._calls.add(asyncio.ensure_future(getattr(self.target, method)(*args)))

    def kill(self) -> None:
        self.is_dead = True
        for task in self._calls:
            task.cancel()


@pytest.fixture
def here() -> type[Here]:
    return Here


@pytest.fixture
def processes_with() -> Callable[[str], list[psutil.Process]]:
    """All that inherited this `NAME=value` in their environment, orphans too."""

    def found(mark: str) -> Iterator[psutil.Process]:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                    yield psutil.Process(int(path.name))
            except (OSError, psutil.NoSuchProcess):
                continue

    return lambda mark: list(found(mark))
