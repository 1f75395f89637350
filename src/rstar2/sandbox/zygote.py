"""The warm interpreter of one slot: forks a child per call, waits for it, and leaves nothing of it alive.

    pool --request, descriptors--> zygote --fork--> child runs the program --fork--> its own processes
         <--------reply----------         <--wait--

It serves one call at a time and outlives every one of them. Invariant: it never reads what belongs to a
call (code, stdin, output), so that no later call can find it in the inherited memory. Imports only the
standard library and its neighbours of this folder that do the same.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from math import ceil
from typing import NoReturn

from rstar2.sandbox import cells, kernel, parcel, program, wire
from rstar2.sandbox.cells import CellFiles
from rstar2.sandbox.jail import OpenJail
from rstar2.sandbox.stillness import Sight, is_still
from rstar2.sandbox.wire import Ending, Reply, Request

_MOST_FDS = wire.LINE + 1
_CODE_FD, _REPORT_FD, _STARTED_FD, _FILES_FD, _FETCHED_FD, _LINE_FD = range(3, 9)
"""Where a child finds them, the last two in a session only; 0, 1 and 2 are its standard streams."""
_SESSION_FDS = CellFiles(
    code=_CODE_FD, report=_REPORT_FD, files=_FILES_FD, fetched=_FETCHED_FD, line=_LINE_FD
)
_HIGHEST_FD = 256

_MESSAGE_BYTES = 256

_FIRST_PAUSE_S, _MOST_LOOKS = 0.02, 8
"""Pauses before looks at a session that is to stand still; each is twice the one before: 5 s in all."""
_STOPPED, _STUCK = b"TtZX", b"D"
"""States of threads. One that is stuck in the kernel stops before it is back in its program."""

_SHORT_S = 0.5
"""What lasts longer is not short; generous, as all calls of a busy machine last longer than they need."""

_NEARLY_ALL = 0.95
"""The kernel ends a program by the clock ticks that met it running, and tells us its true CPU time after."""


class ChildNotStarted(Exception):
    """The child of a call ended before the program began: nothing that the program could be blamed for."""


class Restless(Exception):
    """A session computes between its cells, however often it is stopped."""


def serve(channel: socket.socket, jail: OpenJail) -> None:
    """Answer requests until the pool hangs up."""
    started = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    while True:
        program.seed_randomness(None)  # here, as the zygote writes to its memory at less cost than a child
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, _MOST_FDS)
        if not message:
            return
        if fds:  # else a word about a call or a session that had just ended
            channel.send(_answer(channel, jail, Request.unpack(message), [*fds, started]).pack())


def _answer(channel: socket.socket, jail: OpenJail, request: Request, fds: list[int]) -> Reply:
    started_s = time.monotonic()
    jail.before_fork(request)
    child = kernel.fork()
    if child == 0:
        _become_the_program(jail, request, fds)
    jail.after_fork()
    *own_fds, started = fds
    fetched = own_fds.pop() if len(own_fds) > wire.FETCHED and not request.is_session else None
    for fd in own_fds:
        os.close(fd)
    if request.is_session:
        ending = _watch(child, channel, jail)
    else:
        ending = _await(child, channel, request.time_limit_s, jail)
        jail.claim_share()
    wall_s = time.monotonic() - started_s
    exit_code, cpu_s = _end_all(child, jail)
    jail.lift_memory_limit()
    has_started = _has_started(started)  # asked after each call: the next one's child says it anew
    if ending is Ending.EXITED:
        if not has_started:
            raise ChildNotStarted
        ending = _true_ending(jail, request, exit_code, cpu_s)
    if fetched is not None:
        _fetch(jail, request, fetched)
        os.close(fetched)
    return Reply(ending=ending, reusable=jail.is_clean(), exit_code=exit_code, wall_s=wall_s, cpu_s=cpu_s)


def _become_the_program(jail: OpenJail, request: Request, fds: list[int]) -> NoReturn:
    """In the child: only the call's own descriptors remain, then the jail closes, then the program runs."""
    try:
        *streams, started = fds
        last = _MOST_FDS if request.is_session else wire.FETCHED
        own_fds = [*streams[: wire.FILES], started, *streams[wire.FILES : last]]
        _keep_only(own_fds, (_CODE_FD, 0, 1, 2, *range(_REPORT_FD, len(own_fds))))
        jail.enter(request)
        os.eventfd_write(_STARTED_FD, 1)
        os.close(_STARTED_FD)
        if request.is_session:
            cells.serve(_SESSION_FDS, request.file_limit_bytes)
        files_fd = _FILES_FD if len(own_fds) > _FILES_FD else None
        largest_value_bytes = request.file_limit_bytes if request.wants_value else 0
        program.run_program(_CODE_FD, _REPORT_FD, files_fd, largest_value_bytes)
    finally:
        os._exit(1)


def _keep_only(fds: list[int], targets: tuple[int, ...]) -> None:
    """Move the descriptors to these numbers, which are those from 0 on in some order; close all others."""
    for target, fd in zip(targets, fds, strict=True):
        os.dup2(fd, target + _HIGHEST_FD, inheritable=False)
    for target in targets:
        os.dup2(target + _HIGHEST_FD, target, inheritable=target <= 2)
    os.closerange(len(targets), 2 * _HIGHEST_FD)


def _fetch(jail: OpenJail, request: Request, fetched: int) -> None:
    """When the call's processes are dead: one more with their rights, and none of their code, reads files."""
    child = kernel.fork()
    if child == 0:
        try:
            jail.enter(request)
            parcel.fetch_files_here(fetched, request.file_limit_bytes)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _await(child: int, channel: socket.socket, time_limit_s: float, jail: OpenJail) -> Ending:
    """Wait for the first of: the child's end, its time limit, a word from the pool (or the pool's death).

    A program that is not short gives way to those that may be.
    """
    child_fd = os.pidfd_open(child)
    try:
        poller = select.poll()
        poller.register(child_fd, select.POLLIN)
        poller.register(channel, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(ceil(min(time_limit_s, _SHORT_S) * 1000))}
        if not ready and time_limit_s > _SHORT_S:
            jail.give_way()
            ready = {fd for fd, _ in poller.poll(ceil((time_limit_s - _SHORT_S) * 1000))}
    finally:
        os.close(child_fd)
    if child_fd in ready:
        return Ending.EXITED
    return Ending.INTERRUPTED if ready else Ending.OUT_OF_TIME


def _watch(child: int, channel: socket.socket, jail: OpenJail) -> Ending:
    """Pass the pool's words on to a session, until it ends or is to be ended.

    Words come before the end: one that the pool said when a cell was over says whose the kills before are.
    """
    child_fd = os.pidfd_open(child)
    pauses_s: Iterator[float] = iter(())
    try:
        poller = select.poll()
        poller.register(child_fd, select.POLLIN)
        poller.register(channel, select.POLLIN)
        while True:
            pause_s = next(pauses_s, None)
            ready = {fd for fd, _ in poller.poll(None if pause_s is None else ceil(pause_s * 1000))}
            has_ended = child_fd in ready
            word = channel.recv(_MESSAGE_BYTES) if channel.fileno() in ready else None
            if word is None and has_ended:
                return Ending.EXITED
            if word == wire.KEYBOARD_INTERRUPT:
                os.kill(child, signal.SIGINT)
            elif word == wire.FREEZE:
                jail.signal_all(signal.SIGSTOP)
                jail.forgive()
                pauses_s = _until_still(jail)
            elif word == wire.THAW:
                pauses_s = iter(())
                jail.claim_share()
                jail.signal_all(signal.SIGCONT)
            elif word is not None:
                return Ending.EXITED if has_ended else Ending.INTERRUPTED
    except Restless:
        return Ending.INTERRUPTED
    finally:
        os.close(child_fd)


def _until_still(jail: OpenJail) -> Iterator[float]:
    """Pauses in seconds, each before another look at the session, which is stopped again if need be.

    Between cells that follow at once nobody looks.
    """
    seen = before = Sight()
    for number in range(_MOST_LOOKS):
        yield _FIRST_PAUSE_S * 2**number
        before, seen = seen, jail.look()
        if is_still(before, seen, states=_STOPPED):
            return
        jail.signal_all(signal.SIGSTOP)
        jail.give_way()
    if not is_still(before, seen, states=_STOPPED + _STUCK):
        raise Restless


def _end_all(child: int, jail: OpenJail) -> tuple[int, float]:
    """Kill and reap every process of the call; the child's exit code and the CPU seconds of all of them."""
    exit_code, cpu_s = 0, 0.0
    while True:
        jail.kill_all()
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return exit_code, cpu_s
        cpu_s += used.ru_utime + used.ru_stime
        if pid == child:
            exit_code = os.waitstatus_to_exitcode(status)


def _has_started(started: int) -> bool:
    """The child says so on a descriptor that it closes before it reads the program, so none can pretend."""
    try:
        return os.eventfd_read(started) > 0
    except BlockingIOError:
        return False


def _true_ending(jail: OpenJail, request: Request, exit_code: int, cpu_s: float) -> Ending:
    """Whether an end that looks like the program's own was a limit's doing."""
    if exit_code != 0 and jail.ran_out_of_memory():
        return Ending.OUT_OF_MEMORY
    has_spent_all = cpu_s >= _NEARLY_ALL * request.time_limit_s
    if exit_code in (-signal.SIGKILL, -signal.SIGXCPU) and has_spent_all:
        return Ending.OUT_OF_TIME
    return Ending.EXITED
