"""The pool's handle on the mother: starts her, asks her for slots, starts another if she died."""

import asyncio
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rstar2.errors import SandboxError
from rstar2.sandbox import boot, wire
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.slot import Slot, SlotDied, readable
from rstar2.sandbox.wire import SlotOrder

_NUM_ATTEMPTS = 2
_GRACE_S = 10.0


class MotherDied(SandboxError):
    """Before she was ready; another one may fare better."""


class _Mother:
    """A process that is being started, lives, or is being ended; `end` may be called at any time."""

    def __init__(self, folder: Path, isolation: Isolation, libraries: Sequence[str]) -> None:
        self._control, hers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with hers:
            self._process = subprocess.Popen(
                boot.command("mother", str(hers.fileno()), str(folder), isolation, *libraries),
                pass_fds=[hers.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=boot.ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )

    async def be_ready(self) -> None:
        """Wait until she has imported her libraries."""
        await readable(self._control.fileno())
        if self._control.recv(len(wire.READY)) != wire.READY:
            raise MotherDied("the sandbox could not import its libraries; see the traceback on stderr")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask_for(self, order: SlotOrder, channel: socket.socket) -> None:
        """Have a zygote born that serves on `channel`; OSError if she is dead."""
        socket.send_fds(self._control, [order.pack()], [channel.fileno()])

    async def end(self) -> None:
        """Hang up, so that she cleans up and goes; kill her if she does not."""
        self._control.close()
        try:
            await asyncio.to_thread(self._process.wait, _GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


class Nursery:
    """One mother at a time; slots outlive her."""

    def __init__(self, folder: Path, isolation: Isolation, libraries: Sequence[str]) -> None:
        """`folder` holds the slots' homes; the mother removes it at the end."""
        self._folder = folder
        self._isolation = isolation
        self._libraries = libraries
        self._mother: _Mother | None = None
        self._lock = asyncio.Lock()
        self._is_closed = False

    async def new_slot(self, order: SlotOrder) -> Slot:
        """A warm slot as ordered; SlotDied or MotherDied if two were lost at birth."""
        for attempt in range(1, _NUM_ATTEMPTS + 1):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            try:
                with theirs:
                    await self._ask_for(order, theirs)
                return await Slot.connect(ours)
            except BaseException as error:
                ours.close()
                if not isinstance(error, OSError | SlotDied | MotherDied) or attempt == _NUM_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End the mother, for good."""
        self._is_closed = True
        async with self._lock:
            await self._end_mother()

    async def _ask_for(self, order: SlotOrder, channel: socket.socket) -> None:
        async with self._lock:
            mother = self._mother
            if mother is None or not mother.is_alive:
                mother = await self._another_mother()
            try:
                mother.ask_for(order, channel)
            except OSError:  # she is dying, though not dead yet
                mother = await self._another_mother()
                mother.ask_for(order, channel)

    async def _another_mother(self) -> _Mother:
        await self._end_mother()
        if self._is_closed:
            raise SandboxError("the sandbox is closed; open a new pool to run programs")
        self._mother = mother = _Mother(self._folder, self._isolation, self._libraries)
        try:
            await mother.be_ready()
        except BaseException:
            await self._end_mother()
            raise
        return mother

    async def _end_mother(self) -> None:
        mother, self._mother = self._mother, None
        if mother is not None:
            await mother.end()
