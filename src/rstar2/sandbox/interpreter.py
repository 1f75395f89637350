"""The pool's handle on one live session: a process, in a slot of its own, that runs cell after cell.

    Interpreter --number of a cell--> the session's process --the number again, when it has ended-->
                --freeze, thaw, SIGINT, end--> its zygote --what became of the process, once it is dead-->

Time and the cause of a death are seen from outside. Between cells every process of the session is stopped:
it computes, and costs, only while somebody waits for a cell; what goes on nevertheless ends it. What the
session says of itself is taken for a lie that may hurt nobody else: a word out of turn ends it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from rstar2.sandbox import wire
from rstar2.sandbox.capture import LARGEST_FILE_BYTES, Capture
from rstar2.sandbox.slot import Slot
from rstar2.sandbox.wire import CellReply, Ending, Reply, Request, pack_number
from rstar2.types import Program, ToolResult

_LONGEST_LIFE_S = 86_400.0
"""Of a session's process; no process of it may use more CPU time than this either."""
_GRACE_S = 1.0
"""From the SIGINT at a cell's time limit to the end of the session; and from a broken line to its end."""
_PATIENCE_S = 10.0
"""A zygote that takes longer to end a session is taken for dead; generous, for overloaded machines."""
_MESSAGE_BYTES = 64

_Answer = asyncio.Future[bytes]


@dataclass(frozen=True, slots=True)
class CellEnd:
    """What became of a cell."""

    result: ToolResult
    has_survived: bool
    """The session lives on, with what the cell did to it."""


class Interpreter:
    """Runs one cell at a time; SlotDied if its zygote did not live to tell."""

    def __init__(self, slot: Slot, *, memory_limit_mb: int, seed: int, on_closed: Callable[[], None]) -> None:
        """Starts the session's process; the slot is for this session alone, from now on."""
        self._slot = slot
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._capture = Capture(Program(code=""), has_files=True)
        try:
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # out of descriptors
            self._capture.close()
            raise
        self._line.setblocking(False)
        request = Request(
            time_limit_s=_LONGEST_LIFE_S,
            memory_limit_bytes=memory_limit_mb << 20,
            file_limit_bytes=LARGEST_FILE_BYTES,
            is_session=True,
        )
        with theirs:
            self._death = slot.call(request, [*self._capture.fds, theirs.fileno()])
        self._death.add_done_callback(lambda death: death.exception())  # awaited only where it matters
        with suppress(OSError):  # if nobody is there to hear it, the first cell will find out
            self._line.send(pack_number(seed))
        self._cpu_s = 0.0

    @property
    def is_alive(self) -> bool:
        return not self._death.done()

    async def run(self, number: int, program: Program) -> CellEnd:
        """Run the cell; at its time limit it gets a SIGINT, and if that does not help the session ends."""
        self._capture.renew(program)
        started_s = time.monotonic()
        answer = self._start(number)
        try:
            if is_late := not await self._has_ended(answer, program.time_limit_s):
                self._slot.tell(wire.KEYBOARD_INTERRUPT)
                await self._has_ended(answer, _GRACE_S)
        finally:
            self._loop.remove_reader(self._line)
        reply = self._own_reply(number, answer, time.monotonic() - started_s)
        has_survived = reply is not None
        if reply is None:
            reply = await self._obituary(time.monotonic() - started_s, is_awaited=not is_late)
        else:
            self._slot.tell(wire.FREEZE)
        if is_late:
            reply = replace(reply, ending=Ending.OUT_OF_TIME)
        return CellEnd(self._capture.result(reply), has_survived)

    def stop(self) -> None:
        """Have the session ended, with the cell that it runs."""
        self._slot.interrupt()

    async def close(self) -> None:
        """End every process of the session; no cell may be running."""
        await self._end()
        await self._slot.close()
        self._line.close()
        self._capture.close()
        self._on_closed()

    def _start(self, number: int) -> _Answer:
        """Have the cell run; the answer is what the session says then, empty if it cannot speak."""
        answer: _Answer = self._loop.create_future()

        def listen() -> None:
            self._loop.remove_reader(self._line)
            try:
                answer.set_result(self._line.recv(_MESSAGE_BYTES))
            except OSError:
                answer.set_result(b"")

        self._slot.tell(wire.THAW)
        try:
            self._line.send(pack_number(number))
        except OSError:
            answer.set_result(b"")
        else:
            self._loop.add_reader(self._line, listen)
        return answer

    async def _has_ended(self, answer: _Answer, patience_s: float) -> bool:
        """Whether the cell, or the whole session, has ended by then."""
        ways: list[asyncio.Future[bytes] | asyncio.Future[Reply]] = [answer, self._death]
        ended, _ = await asyncio.wait(ways, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(ended)

    def _own_reply(self, number: int, answer: _Answer, wall_s: float) -> Reply | None:
        """What the session says of the cell, as far as it can be true; None if it is no answer to it."""
        try:
            said = CellReply.unpack(answer.result())
        except (ValueError, asyncio.InvalidStateError):
            return None
        if said.number != number:
            return None
        cpu_s = min(said.cpu_s, wall_s * (os.cpu_count() or 1))
        self._cpu_s += cpu_s
        return Reply(
            ending=Ending.EXITED, reusable=True, exit_code=said.exit_code, wall_s=wall_s, cpu_s=cpu_s
        )

    async def _obituary(self, wall_s: float, *, is_awaited: bool) -> Reply:
        """What the zygote says of the session's end, which is also the cell's; brought about if need be."""
        if is_awaited:
            await asyncio.wait([self._death], timeout=_GRACE_S)
        await self._end()
        death = self._death.result()
        return replace(
            death,
            ending=Ending.EXITED if death.ending is Ending.INTERRUPTED else death.ending,
            wall_s=wall_s,
            cpu_s=max(0.0, death.cpu_s - self._cpu_s),
        )

    async def _end(self) -> None:
        if self.is_alive:
            self._slot.interrupt()
            await asyncio.wait([self._death], timeout=_PATIENCE_S)
        if self.is_alive:
            await self._slot.close()
