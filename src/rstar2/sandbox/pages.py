"""Huge pages for the mother's heap: a fork copies page tables, and 2 MiB pages have 512 times fewer entries.

Called once, when the libraries are imported. Whether the kernel agrees is its own affair: it costs speed, not
safety, so that a refusal is counted and not an error.
"""

from pathlib import Path

from rstar2.sandbox import kernel

HUGE_PAGE_BYTES = 2 << 20


def collapse_heap() -> int:
    """Move private writable memory to huge pages where whole ones fit; the bytes that were moved."""
    moved_bytes = 0
    for start, end in _heap_ranges():
        first = -(-start // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        for page in range(first, end - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES):
            moved_bytes += HUGE_PAGE_BYTES * kernel.collapse(page, HUGE_PAGE_BYTES)
    return moved_bytes


def _heap_ranges() -> list[tuple[int, int]]:
    """Addresses of anonymous private writable mappings, the heap among them and the stack not."""
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        if permissions == "rw-p" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in addresses.split("-"))
            ranges.append((start, end))
    return ranges
