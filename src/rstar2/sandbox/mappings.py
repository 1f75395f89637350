"""What the calling process has mapped, and where: `/proc/self/maps` line by line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mapping:
    """A stretch of addresses."""

    start: int
    end: int
    permissions: str
    """`r`, `w`, `x` or `-` each, then `p` for private or `s` for shared."""
    name: str = ""
    """A path, one of the kernel's own in brackets (`[heap]`), or nothing: anonymous."""


def own_mappings() -> list[Mapping]:
    """By address."""
    return parsed(own_maps())


def own_maps() -> bytes:
    """As the kernel prints them."""
    return Path("/proc/self/maps").read_bytes()


def parsed(maps: bytes) -> list[Mapping]:
    """What `own_maps` says, line by line."""
    mappings = []
    for line in maps.decode(errors="surrogateescape").splitlines():
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        mappings.append(Mapping(start, end, permissions, *name))
    return mappings
