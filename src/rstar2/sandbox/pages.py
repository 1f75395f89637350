"""Huge pages: a fork copies page tables, and a page of 2 MiB has one entry where 4 KiB pages have 512.

A huge page that processes share is split in the one that writes to it. Whether the kernel gives any is its
own affair: it costs speed, not safety, so that a refusal is counted and not an error.
"""

from collections.abc import Iterable

from rstar2.sandbox import kernel
from rstar2.sandbox.mappings import own_mappings

HUGE_PAGE_BYTES = 2 << 20


def collapse(ranges: Iterable[tuple[int, int]]) -> int:
    """Move memory to huge pages of our own, where whole ones fit; the bytes that are on huge pages then."""
    huge_bytes = 0
    for start, end in ranges:
        first = -(-start // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        for page in range(first, end - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES):
            huge_bytes += HUGE_PAGE_BYTES * kernel.collapse(page, HUGE_PAGE_BYTES)
    return huge_bytes


def private_ranges() -> list[tuple[int, int]]:
    """Addresses of our anonymous private writable mappings, the heap among them and the stack not."""
    return [
        (area.start, area.end)
        for area in own_mappings()
        if area.permissions in ("rw-p", "rwxp") and area.name in ("", "[heap]")
    ]
