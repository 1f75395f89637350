"""The pool's handle on one zygote: sends a call, receives its reply, knows when the zygote is dead.

At most one call at a time. Invariant: the future of a call is always resolved, by a reply or by `SlotDied`.
"""

import asyncio
import errno
import os
import signal
import socket
from contextlib import suppress

from rstar2.errors import SandboxError
from rstar2.sandbox import wire
from rstar2.sandbox.wire import Reply, Request

_PATIENCE_S = 10.0
"""A zygote this far beyond its call's time limit is taken for dead; generous, for overloaded machines."""

_LARGEST_MESSAGE_BYTES = 4096


class SlotDied(SandboxError):
    """The zygote is gone; the call it served has no result."""


class Slot:
    """Made by `Slot.connect` from the pool's end of the channel."""

    def __init__(self, channel: socket.socket, pidfd: int) -> None:
        self._channel = channel
        self._pidfd = pidfd
        self._reply: asyncio.Future[Reply] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self.is_alive = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._on_readable)

    @classmethod
    async def connect(cls, channel: socket.socket) -> "Slot":
        """Wait until the zygote at the other end is ready; SandboxError with its reason if it refuses."""
        await readable(channel.fileno())
        message, fds, flags, _ = socket.recv_fds(channel, _LARGEST_MESSAGE_BYTES, 1)
        if not message:
            raise SlotDied("a sandbox worker died before it was ready")
        if flags & socket.MSG_CTRUNC:  # it came with a descriptor that we have no room for
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if not fds:
            raise SandboxError(message.decode())
        return cls(channel, fds[0])

    def call(self, request: Request, fds: list[int]) -> asyncio.Future[Reply]:
        """Start a call; the future raises SlotDied if the zygote does not live to answer."""
        assert self._reply is None, "a slot serves one call at a time"
        self._reply = reply = self._loop.create_future()
        try:
            socket.send_fds(self._channel, [request.pack()], fds)
        except OSError:
            self._die()
        else:
            self._watchdog = self._loop.call_later(request.time_limit_s + _PATIENCE_S, self._die)
        return reply

    def interrupt(self) -> None:
        """Have the running call stopped; its reply, which nobody awaits any more, still comes."""
        if self._reply is not None:
            self._reply.add_done_callback(lambda reply: reply.exception())
            self.tell(wire.INTERRUPT)

    def tell(self, word: bytes) -> None:
        """Send a word about the session that is being served, such as `wire.FREEZE`."""
        try:
            self._channel.send(word)
        except OSError:
            self._die()

    async def settle(self) -> None:
        """Wait until an interrupted call has ended."""
        if self._reply is not None:
            await asyncio.wait([self._reply])

    def _on_readable(self) -> None:
        try:
            message = self._channel.recv(_LARGEST_MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            self._die()
        else:
            reply = Reply.unpack(message)
            self._end_call(reply)
            if not reply.reusable:
                self._die()

    def _end_call(self, outcome: Reply | SlotDied) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        reply, self._reply, self._watchdog = self._reply, None, None
        if reply is None:
            return
        if isinstance(outcome, Reply):
            reply.set_result(outcome)
        else:
            reply.set_exception(outcome)

    def _die(self) -> None:
        """Make sure that the zygote is dead (and with it whatever it serves), and say so to the caller."""
        if self.is_alive:
            self.is_alive = False
            self._loop.remove_reader(self._channel)
            self._channel.close()
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._end_call(SlotDied("a sandbox worker died while it ran a program"))

    async def close(self) -> None:
        """Kill the zygote and wait until it is gone."""
        self._die()
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            await readable(pidfd)
            os.close(pidfd)


async def readable(fd: int) -> None:
    """Wait until `fd` can be read: data, a hang-up, or the end of a process if it is a pidfd."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
