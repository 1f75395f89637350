"""The pool's handle on the mother: starts her, asks her for slots, starts another if she died."""

import asyncio
import socket
import subprocess
from collections.abc import Sequence

from rstar2.errors import SandboxError
from rstar2.sandbox import boot, wire
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.slot import Slot, SlotDied, readable
from rstar2.sandbox.wire import SlotOrder

_LARGEST_MESSAGE_BYTES = 4096


class Nursery:
    """One mother at a time; slots outlive her."""

    def __init__(self, isolation: Isolation, libraries: Sequence[str]) -> None:
        self._isolation = isolation
        self._libraries = libraries
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def new_slot(self, order: SlotOrder) -> Slot:
        """A warm slot as ordered."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        control = None
        try:
            with theirs:
                async with self._lock:
                    control = await self._mother()
                    socket.send_fds(control, [order.pack()], [theirs.fileno()])
            return await Slot.connect(ours)
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError | SlotDied):
                if control is self._control:
                    await self.close()
                raise SlotDied("the sandbox's mother process died; the next call starts another") from error
            raise

    async def close(self) -> None:
        """End the mother; the next slot asked for starts another."""
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _mother(self) -> socket.socket:
        """Control socket of a living mother."""
        if self._control is None or self._process is None or self._process.poll() is not None:
            await self.close()
            self._control = await self._start()
        return self._control

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                boot.command("mother", str(theirs.fileno()), self._isolation, *self._libraries),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=boot.ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        await readable(ours.fileno())
        if ours.recv(_LARGEST_MESSAGE_BYTES) != wire.READY:
            ours.close()
            raise SandboxError("the sandbox could not import its libraries; see the traceback on stderr")
        return ours
