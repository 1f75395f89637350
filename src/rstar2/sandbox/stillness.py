"""Whether the processes of a session stand still, as told by the host's /proc; there is none inside a jail.

A signal to stop is no proof: processes that wake each other, or whose parent ends a little later, go on.
"""

import os
from contextlib import suppress

_LONGEST_STATUS_BYTES = 1 << 14

Sight = dict[bytes, tuple[bytes, bytes]]
"""By thread: its state, one letter as in ps, and the lines that count how often it left a core."""


class Onlooker:
    """Made outside of the jail, as it keeps the host's /proc open; each look costs some 50 us per thread."""

    def __init__(self) -> None:
        self._proc_fd = os.open("/proc", os.O_PATH)

    def close(self) -> None:
        os.close(self._proc_fd)

    def look(self) -> Sight:
        """All threads of all descendants of the calling process that can be seen."""
        sight: Sight = {}
        ahead = self._read(b"thread-self/children").split()
        while ahead:
            folder = ahead.pop() + b"/task"
            for thread in self._listed(folder):
                status = self._read(folder + b"/" + thread + b"/status")
                _, _, rest = status.partition(b"\nState:\t")
                sight[thread] = rest[:1], rest[rest.find(b"\nvoluntary_ctxt_switches") :]
                ahead += self._read(folder + b"/" + thread + b"/children").split()
        return sight

    def _listed(self, folder: bytes) -> list[bytes]:
        with suppress(OSError):  # it has just ended
            fd = os.open(folder, os.O_RDONLY, dir_fd=self._proc_fd)
            try:
                return [os.fsencode(name) for name in os.listdir(fd)]
            finally:
                os.close(fd)
        return []

    def _read(self, file: bytes) -> bytes:
        with suppress(OSError):  # it has just ended
            fd = os.open(file, os.O_RDONLY, dir_fd=self._proc_fd)
            try:
                return os.read(fd, _LONGEST_STATUS_BYTES)
            finally:
                os.close(fd)
        return b""


def is_still(before: Sight, now: Sight, *, states: bytes) -> bool:
    """Whether nothing ran between the two looks, and what there is now is in one of these states."""
    return now == before and all(state in states for state, _ in now.values())
