"""The list of mappings is the kernel's: own memory is found in it, named as the kernel names it."""

import mmap
from ctypes import addressof, c_char
from pathlib import Path

from rstar2.sandbox.mappings import own_mappings


def test_a_mapping_is_found_with_its_bounds_permissions_and_path(tmp_path: Path) -> None:
    file = tmp_path / "a name with blanks"
    file.write_bytes(bytes(3 * mmap.PAGESIZE))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        byte = c_char.from_buffer(mapped)
        start = addressof(byte)
        (found,) = (area for area in own_mappings() if area.start <= start < area.end)
        del byte
    assert (found.start, found.end) == (start, start + 3 * mmap.PAGESIZE)
    assert (found.permissions, found.name) == ("rw-s", str(file))


def test_mappings_come_by_address_and_the_kernels_own_are_in_brackets() -> None:
    found = own_mappings()
    assert [area.start for area in found] == sorted(area.start for area in found)
    assert "[stack]" in {area.name for area in found}
