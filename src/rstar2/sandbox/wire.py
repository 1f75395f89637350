"""What the pool, a zygote and a session say to each other: fixed-size messages on SOCK_SEQPACKET pairs.

A request carries limits and descriptors; a reply carries facts that the zygote measured. The program's text,
its files and its output never travel here: they stay in descriptors that only the program's process reads
or writes, so that no call can leave anything in the memory that the next call is forked from.
"""

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

CODE, STDIN, STDOUT, STDERR, REPORT, FILES, FETCHED, LINE = range(8)
"""Order of a request's descriptors; REPORT takes what the interpreter adds to the output streams.

FILES and FETCHED are `parcel` streams and come together or not at all: files to put into the working
directory, and the names of files wanted in the end, to which their content is appended. LINE is a session's
end of a socket pair, over which it is told of its cells.
"""

INTERRUPT = b"!"
"""Sent by the pool while a call runs: stop it. Ignored by an idle zygote (the call had just ended)."""
FREEZE, THAW, KEYBOARD_INTERRUPT = b"f", b"t", b"k"
"""Sent by the pool while a session lives: stop all its processes, let them go on, SIGINT to the first one."""

REPORT_VALUE, REPORT_OUT_OF_MEMORY = b"v", b"m"
"""First byte of REPORT: the repr of the last expression follows, or MemoryError went uncaught."""

_REQUEST = struct.Struct("=dqq??")
_REPLY = struct.Struct("=B?idd")
_CELL_REPLY = struct.Struct("=IBQ")
_NUMBER = struct.Struct("=I")


READY = b"ready"
"""First word of a mother and of a zygote; anything else a zygote says first is why it cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotOrder:
    """What the pool asks of the mother; the slot's end of its channel goes with it."""

    number: int
    """Of the slot in its pool, from 0."""
    home: Path
    """An empty folder of the host: mount point of the slot's file system, or its working directory."""
    owns_memory: bool = False
    """Whether it gets copies of its own of the huge pages that it has begun to write to: some 60 MiB, for
    calls that cost a tenth less."""

    def pack(self) -> bytes:
        return b"%d %d %s" % (self.number, self.owns_memory, os.fsencode(self.home))

    @classmethod
    def unpack(cls, message: bytes) -> "SlotOrder":
        number, owns_memory, home = message.split(b" ", 2)
        return cls(number=int(number), home=Path(os.fsdecode(home)), owns_memory=bool(int(owns_memory)))


class Ending(IntEnum):
    """How a program came to its end, as seen from outside of it."""

    EXITED = 0
    """By itself: exit code or signal are in the wait status."""
    OUT_OF_TIME = 1
    OUT_OF_MEMORY = 2
    INTERRUPTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The limits of one call, or of one session as long as it lives."""

    time_limit_s: float
    memory_limit_bytes: int
    file_limit_bytes: int
    """Largest file, and therefore most output per stream."""
    wants_value: bool = True
    """Whether the value of the last expression is to be reported."""
    is_session: bool = False
    """All eight descriptors come with it, and the reply when the session has ended."""

    def pack(self) -> bytes:
        return _REQUEST.pack(
            self.time_limit_s,
            self.memory_limit_bytes,
            self.file_limit_bytes,
            self.wants_value,
            self.is_session,
        )

    @classmethod
    def unpack(cls, message: bytes) -> "Request":
        time_limit_s, memory_limit_bytes, file_limit_bytes, wants_value, is_session = _REQUEST.unpack(message)
        return cls(
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            file_limit_bytes=file_limit_bytes,
            wants_value=wants_value,
            is_session=is_session,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one call."""

    ending: Ending
    reusable: bool
    """False when the call left something behind that only a fresh slot is free of."""
    exit_code: int
    """As `subprocess` has it: -N for a death by signal N."""
    wall_s: float
    cpu_s: float
    """User and system time of all processes of the call."""

    def pack(self) -> bytes:
        return _REPLY.pack(self.ending, self.reusable, self.exit_code, self.wall_s, self.cpu_s)

    @classmethod
    def unpack(cls, message: bytes) -> "Reply":
        ending, reusable, exit_code, wall_s, cpu_s = _REPLY.unpack(message)
        return cls(ending=Ending(ending), reusable=reusable, exit_code=exit_code, wall_s=wall_s, cpu_s=cpu_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReply:
    """What a session says of the cell that it was told to run; it may lie."""

    number: int
    exit_code: int
    """0 to 255."""
    cpu_s: float
    """To the microsecond."""

    def pack(self) -> bytes:
        return _CELL_REPLY.pack(self.number, self.exit_code & 0xFF, round(self.cpu_s * 1e6))

    @classmethod
    def unpack(cls, message: bytes) -> "CellReply":
        """ValueError if it is none."""
        if len(message) != _CELL_REPLY.size:
            raise ValueError("a cell's reply has another length")
        number, exit_code, cpu_us = _CELL_REPLY.unpack(message)
        return cls(number=number, exit_code=exit_code, cpu_s=cpu_us / 1e6)


def pack_number(number: int) -> bytes:
    """What the pool says on a session's line: first the seed, then the number of each cell to run."""
    return _NUMBER.pack(number)


def unpack_number(message: bytes) -> int:
    number: int = _NUMBER.unpack(message)[0]
    return number
