"""What a program may do."""

import os
import resource
import shutil
import signal
from contextlib import suppress
from math import ceil
from pathlib import Path

from rstar2.sandbox.wire import Request

_LARGEST_STACK_BYTES = 8 << 20
_MOST_OPEN_FILES = 256


class Jail:
    """No isolation: limits per process, a private working directory, and the death of all descendants."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._own_address_space_bytes = _address_space_bytes()
        os.chdir(home)

    def before_call(self, request: Request) -> None:
        """In the zygote."""

    def enter(self, request: Request) -> None:
        """In the child, before the program's text is read; there is no way back."""
        cpu_limit_s = ceil(request.time_limit_s)
        _limit(resource.RLIMIT_CPU, cpu_limit_s)
        _limit(resource.RLIMIT_AS, self._own_address_space_bytes + request.memory_limit_bytes)
        _limit(resource.RLIMIT_FSIZE, request.file_limit_bytes)
        _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
        _limit(resource.RLIMIT_STACK, _LARGEST_STACK_BYTES)
        _limit(resource.RLIMIT_CORE, 0)

    def kill_all(self) -> None:
        """In the zygote: SIGKILL to the children; orphans become children, as the zygote is a subreaper."""
        with open(f"/proc/self/task/{os.getpid()}/children") as children:
            for pid in children.read().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def ran_out_of_memory(self) -> bool:
        return False

    def after_call(self) -> bool:
        """In the zygote, when all processes of the call are gone: whether nothing else is left of it."""
        return _emptied(self.home)


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _emptied(folder: Path) -> bool:
    for name in os.listdir(folder):
        path = folder / name
        with suppress(OSError, RecursionError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return not os.listdir(folder)
