"""The descriptors of one call: memory files for its code, stdin, output and report, and for its files.

Memory files rather than pipes: nobody has to pump them, whatever was written outlives the writer, and a
descendant that keeps one open delays nobody. They are read when all writers are dead.
"""

import fcntl
import os
import signal
from types import TracebackType

from rstar2.sandbox import parcel, wire
from rstar2.sandbox.wire import REPORT_OUT_OF_MEMORY, REPORT_VALUE, Ending, Reply
from rstar2.types import Program, ToolResult, ToolStatus

LARGEST_FILE_BYTES = 16 << 20
"""A program that writes more than this to a stream, or to any file, is refused the rest."""

_APPENDED = (wire.STDOUT, wire.STDERR)
"""So that the processes of one program do not overwrite each other's output."""

_LONGEST_CHARACTER_BYTES = 4


class Capture:
    """Use as a context manager; `fds` go to the zygote in this order (see `wire`)."""

    def __init__(self, program: Program, *, has_files: bool | None = None) -> None:
        """`has_files`: also descriptors for files; by default only if the program has any."""
        needs_files = has_files if has_files is not None else program.files or program.fetch_files
        self.fds: list[int] = []
        try:
            for number in range(wire.LINE if needs_files else wire.FILES):
                self.fds.append(os.memfd_create("call"))
                if number in _APPENDED:
                    fcntl.fcntl(self.fds[number], fcntl.F_SETFL, os.O_APPEND)
            self._fill(program)
        except BaseException:  # out of descriptors, say
            self.close()
            raise

    def renew(self, program: Program) -> None:
        """Make it that of the next cell of a session; what wrote to it may go on writing."""
        for fd in self.fds:
            os.ftruncate(fd, 0)
        self._fill(program)

    def _fill(self, program: Program) -> None:
        self._keep_chars = program.output_limit_chars
        self._fetch_files = program.fetch_files
        self._wanted = parcel.packed((path, b"") for path in program.fetch_files)
        _write(self.fds[wire.CODE], program.code.encode("utf-8", "surrogatepass"))
        _write(self.fds[wire.STDIN], program.stdin.encode("utf-8", "surrogatepass"))
        if len(self.fds) > wire.FILES:
            _write(self.fds[wire.FILES], parcel.packed(program.files))
            _write(self.fds[wire.FETCHED], self._wanted)

    def __enter__(self) -> "Capture":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)

    def result(self, reply: Reply) -> ToolResult:
        """What the program wrote, joined with what the zygote saw of its end."""
        stdout, stdout_is_cut = both_ends(self.fds[wire.STDOUT], self._keep_chars)
        stderr, stderr_is_cut = both_ends(self.fds[wire.STDERR], self._keep_chars)
        value, value_is_cut = self._value()
        status = self._status(reply, stdout_is_cut or stderr_is_cut or value_is_cut)
        was_stopped = reply.ending is not Ending.EXITED or self._is_overfull()
        return ToolResult(
            status=status,
            stdout=stdout,
            stderr=stderr + _epitaph(reply),
            value=value,
            wall_s=reply.wall_s,
            cpu_s=reply.cpu_s,
            exit_code=None if was_stopped else reply.exit_code,
            files=self._fetched_files() if self._wanted else (),
        )

    def _status(self, reply: Reply, is_cut: bool) -> ToolStatus:
        assert reply.ending is not Ending.INTERRUPTED, "nobody awaits an interrupted call"
        if reply.ending is Ending.OUT_OF_TIME:
            return ToolStatus.TIME_LIMIT
        if reply.ending is Ending.OUT_OF_MEMORY or self._report_kind() == REPORT_OUT_OF_MEMORY:
            return ToolStatus.MEMORY_LIMIT
        if self._is_overfull():
            return ToolStatus.OUTPUT_LIMIT
        if reply.exit_code != 0:
            return ToolStatus.EXCEPTION
        return ToolStatus.OUTPUT_LIMIT if is_cut else ToolStatus.OK

    def _value(self) -> tuple[str | None, bool]:
        """The program's last expression, if it reports one, and whether it was too long."""
        if self._report_kind() != REPORT_VALUE:
            return None, False
        return both_ends(self.fds[wire.REPORT], self._keep_chars, start=len(REPORT_VALUE))

    def _fetched_files(self) -> tuple[tuple[str, bytes], ...]:
        """Those that are there, of those that were asked for."""
        stream = os.pread(self.fds[wire.FETCHED], LARGEST_FILE_BYTES, len(self._wanted))
        there = dict(parcel.opened(stream, len(self._fetch_files)))
        return tuple((path, there[path]) for path in self._fetch_files if path in there)

    def _report_kind(self) -> bytes:
        return os.pread(self.fds[wire.REPORT], 1, 0)

    def _is_overfull(self) -> bool:
        return any(os.fstat(self.fds[number]).st_size >= LARGEST_FILE_BYTES for number in _APPENDED)


def both_ends(fd: int, keep_chars: int, *, start: int = 0) -> tuple[str, bool]:
    """Text of the file from `start` on, and whether it was too long: then half of `keep_chars` from either
    end is kept.

    Reads no more than it must: a flood costs the pool no more than a page. Invalid UTF-8 is replaced.
    """
    size_bytes = max(0, os.fstat(fd).st_size - start)  # a session may empty its files meanwhile
    most_bytes = min((keep_chars + 1) * _LONGEST_CHARACTER_BYTES, size_bytes)
    head = os.pread(fd, most_bytes, start).decode("utf-8", "replace")
    if size_bytes <= most_bytes and len(head) <= keep_chars:
        return head, False
    tail = os.pread(fd, most_bytes, start + size_bytes - most_bytes).decode("utf-8", "replace")
    tail_chars = keep_chars // 2
    marker = f"\n[... cut here; {size_bytes} bytes in all ...]\n"
    return head[: keep_chars - tail_chars] + marker + tail[len(tail) - tail_chars :], True


def _epitaph(reply: Reply) -> str:
    """A line for a death that left no traceback, as a shell would print it."""
    if reply.ending is not Ending.EXITED or reply.exit_code >= 0:
        return ""
    number = -reply.exit_code
    return f"{signal.strsignal(number)} (signal {number})\n"


def _write(fd: int, content: bytes) -> None:
    """To an empty file, whose position is then its start."""
    os.lseek(fd, 0, os.SEEK_SET)
    num_written = 0
    while num_written < len(content):
        num_written += os.pwrite(fd, content[num_written:], num_written)
