"""The memory of all processes of a slot together, held to a limit by a control group where there is one.

Where there are groups for CPU time as well, a slot has as much of it as any other, however many processes
its program starts.

Version 1 and version 2 hierarchies. A group is made inside our own group, by whoever may write there (root,
or a user to whom it was delegated); a zygote lives in it for ever, so that a call costs no migration.

The kernel refuses to remove a group that has processes, so one without any may be removed by whoever finds
it: either its pool is gone, or somebody is about to join it, who makes it again then.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POOL_PREFIX = "rstar2-sandbox-"
"""Of the names of all pools, and so of their groups."""

SLACK_BYTES = 64 << 20
"""On top of a program's limit and of what its slot uses at rest: pages of the warm interpreter that it writes
to, and its page tables."""

_CGROUP_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """Where we may make groups, and what its files are called."""

    folder: Path
    limit_file: str
    no_limit: bytes
    """To write there for none."""
    no_swap_file: str
    """Takes a 0."""
    usage_file: str
    events_file: str
    """Has a line `oom_kill <count>`."""


class MemoryGroup:
    """The group that the calling process has joined, with all that it will fork.

    Its files are kept open, as they work from inside the jail, where no path leads to them.
    """

    def __init__(self, hierarchy: _Hierarchy, name: str) -> None:
        folder = hierarchy.folder / name
        _join(folder)
        self._no_limit = hierarchy.no_limit
        with suppress(OSError):  # there is no such file where there is no swap
            (folder / hierarchy.no_swap_file).write_text("0")
        self._limit_fd = os.open(folder / hierarchy.limit_file, os.O_WRONLY)
        self._usage_fd = os.open(folder / hierarchy.usage_file, os.O_RDONLY)
        self._events_fd = os.open(folder / hierarchy.events_file, os.O_RDONLY)
        self._host_proc_fd = os.open("/proc", os.O_PATH)
        self._victim_score_fd = -1
        self._at_rest_bytes = 0
        self._num_kills = self._read_num_kills()

    def become_supervisor(self) -> None:
        """In the process that will fork the calls, once; gives up its own way to the host's /proc."""
        self._victim_score_fd = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=self._host_proc_fd)
        os.close(self._host_proc_fd)

    def before_fork(self, limit_bytes: int) -> None:
        """Set the limit of the coming call, whose processes are to be killed before the supervisor is.

        Kills from here on are of this call: those of an earlier one that nobody asked about are its own.
        """
        self.forget_kills()
        # Before the first call only: later on it counts what calls have read of files, too.
        self._at_rest_bytes = self._at_rest_bytes or int(os.pread(self._usage_fd, 64, 0))
        os.pwrite(self._limit_fd, b"%d" % (self._at_rest_bytes + limit_bytes + SLACK_BYTES), 0)
        os.pwrite(self._victim_score_fd, b"1000", 0)

    def forget_kills(self) -> None:
        """What was killed up to now is no longer of interest."""
        self._num_kills = self._read_num_kills()

    def after_fork(self) -> None:
        """The child has inherited the score; the supervisor takes its own back."""
        os.pwrite(self._victim_score_fd, b"0", 0)

    def lift(self) -> None:
        """No limit until the next call: files that a dead one left must not cost the supervisor its life."""
        os.pwrite(self._limit_fd, self._no_limit, 0)

    def has_killed(self) -> bool:
        """Whether the kernel killed a process of the call over the limit."""
        return self._read_num_kills() > self._num_kills

    def _read_num_kills(self) -> int:
        words = os.pread(self._events_fd, 4096, 0).split()
        return int(words[words.index(b"oom_kill") + 1])


class CpuShare:
    """What the group of the calling process, and of all that it will fork, gets of busy cores.

    Its file is kept open, as it works from inside the jail.
    """

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR)
        self._full = int(os.pread(self._fd, 64, 0))
        self._gives_way = False

    def give_way(self) -> None:
        """Take an eighth of the share of others, if they want theirs."""
        self._gives_way = True
        os.pwrite(self._fd, b"%d" % (self._full // 8), 0)

    def claim(self) -> None:
        """Take the full share again."""
        if self._gives_way:
            self._gives_way = False
            os.pwrite(self._fd, b"%d" % self._full, 0)


def join_cpu_group(name: str) -> CpuShare | None:
    """Make and join the group for CPU time, or None if we cannot; of version 2, it is that for memory."""
    if (cpu_folder := _cpu_folder()) is not None:
        _join(cpu_folder / name)
        return CpuShare(cpu_folder / name / "cpu.shares")
    for controllers, own_group in _own_groups():
        weight = _CGROUP_MOUNT / own_group / "cpu.weight"
        if not controllers and weight.parent.name == name and weight.exists():
            return CpuShare(weight)
    return None


def join_group(name: str) -> MemoryGroup | None:
    """Make and join the group, or None where we cannot have any."""
    hierarchy = _hierarchy()
    return MemoryGroup(hierarchy, name) if hierarchy is not None else None


def remove_groups(prefix: str = POOL_PREFIX) -> None:
    """Remove the groups whose names start so, those without processes at least."""
    for folder in _groups(prefix):
        with suppress(OSError):
            folder.rmdir()


def num_abandoned() -> int:
    """Groups of pools that were killed with all their processes, and could not clean up."""
    num_empty = 0
    for folder in _groups(POOL_PREFIX):
        with suppress(OSError):  # removed just now
            num_empty += not (folder / "cgroup.procs").read_text()
    return num_empty


def is_available() -> bool:
    """Whether we may make memory groups here."""
    return _hierarchy() is not None


def _join(folder: Path) -> None:
    """Make the group and move the calling process into it, however often others remove it in between."""
    while True:
        with suppress(FileExistsError):  # not exist_ok=True: that looks whether it is still there
            folder.mkdir()
        try:
            (folder / "cgroup.procs").write_text(f"{os.getpid()}")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # of a path, and of an open file
                raise
        else:
            return


def _groups(prefix: str) -> Iterator[Path]:
    hierarchy, cpu_folder = _hierarchy(), _cpu_folder()
    if hierarchy is not None:
        yield from hierarchy.folder.glob(f"{prefix}*")
    if cpu_folder is not None:
        yield from cpu_folder.glob(f"{prefix}*")


def _own_groups() -> Iterator[tuple[str, str]]:
    """(controllers, path below their mount) of the groups that we are in; version 2 names no controllers."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, path.lstrip("/")


def _cpu_folder() -> Path | None:
    """Where version 1 has groups for CPU time; one of version 2 is for all."""
    for controllers, own_group in _own_groups():
        if "cpu" in controllers.split(","):
            folder = _CGROUP_MOUNT / controllers / own_group
            return folder if os.access(folder, os.W_OK) else None
    return None


def _hierarchy() -> _Hierarchy | None:
    for controllers, own_group in _own_groups():
        found: _Hierarchy | None = None
        if "memory" in controllers.split(","):
            found = _version_1(_CGROUP_MOUNT / "memory" / own_group)
        elif controllers == "":
            found = _version_2(_CGROUP_MOUNT / own_group)
        if found is not None and os.access(found.folder, os.W_OK):
            return found
    return None


def _version_1(folder: Path) -> _Hierarchy:
    return _Hierarchy(
        folder=folder,
        limit_file="memory.limit_in_bytes",
        no_limit=b"-1",
        no_swap_file="memory.swappiness",
        usage_file="memory.usage_in_bytes",
        events_file="memory.oom_control",
    )


def _version_2(folder: Path) -> _Hierarchy | None:
    """Only if our group may pass the memory controller on; a group that holds processes often may not."""
    control = folder / "cgroup.subtree_control"
    with suppress(OSError):
        control.write_text("+cpu")
    with suppress(OSError):
        if "memory" not in control.read_text().split():
            control.write_text("+memory")
        if "memory" in control.read_text().split():
            return _Hierarchy(
                folder=folder,
                limit_file="memory.max",
                no_limit=b"max",
                no_swap_file="memory.swap.max",
                usage_file="memory.current",
                events_file="memory.events",
            )
    return None
