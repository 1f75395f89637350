"""Moves the interpreter and its libraries, code included, into a few anonymous mappings on huge pages.

A fork copies one structure per mapping and one page-table entry per private page, an exit undoes both, and
what it does not copy (pages of files) a child must fault in again. A warm interpreter has some 350 mappings
of 70 libraries; moved together they are about ten on 100 huge pages, and a fork costs a third.

The bytes stay at their addresses, so that nobody notices, except `/proc/self/maps`. What was read-only or
executable becomes all of both: no wall of ours, as a program may map what it likes anyway. x86-64 only;
elsewhere, where the kernel has no huge pages to give, and where it refuses memory that is both writable and
executable (systemd's MemoryDenyWriteExecute), nothing is moved: that costs speed, not safety.
"""

import ctypes
import gc
import mmap
import platform
from collections.abc import Iterable

from rstar2.sandbox import kernel
from rstar2.sandbox.mappings import Mapping, own_mappings, own_maps, parsed
from rstar2.sandbox.pages import HUGE_PAGE_BYTES

_LARGEST_GAP_BYTES = 512 << 10
"""Holes up to this are covered too; smaller than what the interpreter maps at a time (1 MiB)."""

_MOST_LOOKS = 5
"""A look makes objects, the next ones find room where these were."""

_MOST_TRIES = 50
"""Some three spans, of which one may have grown at its lower end when it was about to be moved."""

_COPY_AND_MOVE = bytes.fromhex(
    "4989f9"  #         mov r9, rdi           r9: table of (to, from, number of bytes)
    "4989f2"  #         mov r10, rsi          r10: its rows
    "4989cb"  #         mov r11, rcx          r11: bytes of the span; rdx: where the copy is
    "4d85d2"  #   copy: test r10, r10
    "7416"  #           jz move
    "498b39"  #         mov rdi, [r9]
    "498b7108"  #       mov rsi, [r9 + 8]
    "498b4910"  #       mov rcx, [r9 + 16]
    "f3a4"  #           rep movsb
    "4983c118"  #       add r9, 24
    "49ffca"  #         dec r10
    "ebe5"  #           jmp copy
    "4889d7"  #   move: mov rdi, rdx          mremap(copy, size, size, MAYMOVE | FIXED, original)
    "4c89de"  #         mov rsi, r11
    "4c89da"  #         mov rdx, r11
    "41ba03000000"  #   mov r10d, 3           r8 holds the original's address from the start
    "b819000000"  #     mov eax, 25
    "0f05"  #           syscall
    "c3"  #             ret
)
"""Copies a span and maps the copy over it, in one go: between the two, nothing else may write to it, and
the interpreter cannot execute a line without writing to its own memory."""


def consolidate() -> int:
    """Do it, in a process of one thread; the bytes that were moved."""
    if platform.machine() != "x86_64":
        return 0
    try:
        stub = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return 0
    stub.write(_COPY_AND_MOVE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(stub))
    collects = gc.isenabled()
    gc.disable()
    try:
        return _move_all(address)
    finally:
        if collects:
            gc.enable()


def _move_all(stub: int) -> int:
    """One span after the other, from below, each looked up anew; the bytes moved.

    What was seen is kept to the end: memory that was mapped for it stays, and the next try need not map any.
    """
    moved_bytes, end, seen = 0, 0, []
    for _ in range(_MOST_TRIES):
        seen.append([span for span in spans(own_mappings(), fixed=stub) if span[-1].end > end])
        if not seen[-1]:
            break
        span = seen[-1][0]
        size_bytes = _move(span, stub=stub)
        if size_bytes is not None:
            moved_bytes, end = moved_bytes + size_bytes, span[-1].end
    return moved_bytes


def _move(span: list[Mapping], *, stub: int) -> int | None:
    """Its bytes, 0 if it has to stay where it is, None if it has changed meanwhile.

    The interpreter maps memory whenever it makes objects, in a hole that the copy would cover if there is
    one, and unmaps it when they go. So everything is made first, and then nothing may have changed.
    """
    words = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    copy_and_move = ctypes.PYFUNCTYPE(ctypes.c_void_p, *words)(stub)
    start = _whole_huge_page(span[0].start, own_mappings())
    size_bytes = span[-1].end - start
    copy = _huge_copy_space(start, size_bytes)
    if copy is None:
        return 0
    readable = [area for area in span if area.permissions.startswith("r")]
    rows = [(copy + area.start - start, area.start, area.end - area.start) for area in readable]
    table = (ctypes.c_uint64 * (3 * len(rows)))(*(word for row in rows for word in row))
    call = (ctypes.addressof(table), len(rows), copy, size_bytes, start)
    for _ in range(_MOST_LOOKS):
        maps = own_maps()
        now = parsed(maps)
        if span not in spans(now, fixed=stub) or _whole_huge_page(span[0].start, now) != start:
            break
        if own_maps() == maps:
            moved_to = copy_and_move(*call)
            assert moved_to == start
            return size_bytes
    kernel.unmap(copy, size_bytes)
    return None


def spans(mappings: Iterable[Mapping], *, fixed: int) -> list[list[Mapping]]:
    """Neighbouring mappings that can move together, where that is worth a huge page.

    `fixed` is an address whose mapping stays where it is, as those do that may not move.
    """
    groups: list[list[Mapping]] = [[]]
    for area in mappings:
        if not _may_move(area) or area.start <= fixed < area.end:
            groups.append([])
        elif groups[-1] and area.start - groups[-1][-1].end > _LARGEST_GAP_BYTES:
            groups.append([area])
        else:
            groups[-1].append(area)
    return [group for group in groups if group and group[-1].end - group[0].start >= HUGE_PAGE_BYTES]


def _may_move(area: Mapping) -> bool:
    """Private, and not one of the kernel's own (stack, heap, vdso)."""
    return area.permissions.endswith("p") and not area.name.startswith("[")


def _whole_huge_page(start: int, mappings: Iterable[Mapping]) -> int:
    """The boundary of huge pages below `start` if nothing lies between, else `start`."""
    boundary = start // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES
    return start if any(area.start < start and area.end > boundary for area in mappings) else boundary


def _huge_copy_space(original: int, size_bytes: int) -> int | None:
    """Fresh memory that lies to huge pages as `original` does, all of it there; None if it cannot be had."""
    reserved_bytes = size_bytes + 2 * HUGE_PAGE_BYTES
    reserved = kernel.map_anonymous(reserved_bytes)
    start = reserved + (original - reserved) % HUGE_PAGE_BYTES
    kernel.unmap(reserved, start - reserved)
    kernel.unmap(start + size_bytes, reserved + reserved_bytes - start - size_bytes)
    first = -(-start // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    for page in range(first, start + size_bytes - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES):
        ctypes.memset(page, 0, 1)  # the kernel collapses only what is there
        if not kernel.collapse(page, HUGE_PAGE_BYTES):
            kernel.unmap(start, size_bytes)
            return None
    return start
