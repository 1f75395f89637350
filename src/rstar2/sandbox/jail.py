"""What a program may do: the walls around a slot, and the limits of a call.

The costly walls (namespaces, file system, seccomp filter) are built once per slot and inherited by every
call; per call there remain a change of uid and the rlimits. Order of construction, one process per line:

    mother      fork
      doorman   user namespace (level "user"), the other namespaces, the view; forks
        zygote  PID 1: host name, capabilities, no_new_privs, seccomp; forks per call
          child   rlimits, uid; then the program

The levels are explicit and never degrade: what a level needs and the kernel lacks is an error.
"""

import os
import resource
import shutil
import signal
import zlib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path

from rstar2.sandbox import cgroup, kernel, seccomp, view
from rstar2.sandbox.stillness import Onlooker, Sight
from rstar2.sandbox.wire import Request, SlotOrder

_MOST_PROCESSES = 64
"""Threads included, zygote included."""
_MOST_OPEN_FILES = 256
_LARGEST_STACK_BYTES = 8 << 20

MOST_WORKERS = 1 << 12
"""Of a pool; as many sessions may be live beside them."""
_FIRST_UID, _MOST_POOLS, _MOST_SLOTS = 1_900_000_000, 1 << 14, 2 * MOST_WORKERS
_LAST_UID = _FIRST_UID + _MOST_POOLS * _MOST_SLOTS

NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)
_SUPERVISOR_CAPABILITIES = (
    kernel.CAP_SETUID,
    kernel.CAP_SETGID,
    kernel.CAP_KILL,
    kernel.CAP_DAC_OVERRIDE,
    kernel.CAP_FOWNER,
)
"""What a zygote that is root keeps: to give up its uid in the child, to kill, and to clean up."""


class Isolation(StrEnum):
    """How strongly programs are walled in."""

    FULL = "full"
    """Everything, and a uid of its own for each slot; needs root (CAP_SYS_ADMIN)."""
    USER = "user"
    """Everything, through an unprivileged user namespace; the host sees the uid of the service."""
    NONE = "none"
    """Limits per process, a private folder and the death of all descendants; nothing is hidden or refused."""

    @classmethod
    def default(cls) -> "Isolation":
        """The level that is sealed for whoever we are: FULL for root, USER for everybody else."""
        return cls.FULL if os.geteuid() == 0 else cls.USER


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What the walls of all slots have in common; drawn once, as each slot pays for the memory it touches."""

    seen: view.Survey
    filter_program: bytes

    @classmethod
    def draw(cls) -> "Blueprint":
        return cls(view.survey(), seccomp.filter_program())


class OpenJail:
    """Level NONE."""

    def __init__(self, home: Path) -> None:
        self._folders: tuple[str, ...] = (str(home),)
        self._address_space_bytes = _own_address_space_bytes()

    def build_outer_walls(self) -> None:
        """In the doorman."""

    def build_inner_walls(self) -> None:
        """In the zygote, before the first call."""
        kernel.become_subreaper()
        os.chdir(self._folders[0])

    def before_fork(self, request: Request) -> None:
        """In the zygote, before each call."""

    def after_fork(self) -> None:
        """In the zygote, when the child of the call is there."""

    def lift_memory_limit(self) -> None:
        """In the zygote, when all processes of a call are gone: what is still to do is not the program's."""

    def enter(self, request: Request) -> None:
        """In the child, before the program's text is read; there is no way back."""
        cpu_limit_s = ceil(request.time_limit_s)
        _limit(resource.RLIMIT_CPU, cpu_limit_s)
        _limit(resource.RLIMIT_AS, self._address_space_bytes + request.memory_limit_bytes)
        _limit(resource.RLIMIT_FSIZE, request.file_limit_bytes)
        _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
        _limit(resource.RLIMIT_STACK, _LARGEST_STACK_BYTES)
        _limit(resource.RLIMIT_CORE, 1)  # 0 would not keep a host that pipes core dumps from taking one

    def kill_all(self) -> None:
        """In the zygote: to be repeated until it has no children left."""
        self.signal_all(signal.SIGKILL)

    def signal_all(self, number: int) -> None:
        """In the zygote: to every process of the call that it can find."""
        signal_children(number)

    def look(self) -> Sight:
        """In the zygote: what the processes of the session are doing, where anything is done about that."""
        return {}

    def give_way(self) -> None:
        """In the zygote: let the calls of other slots go first from now on."""

    def claim_share(self) -> None:
        """In the zygote, when the call is over: be as good as the other slots again."""

    def ran_out_of_memory(self) -> bool:
        """In the zygote, after a call that did not end well."""
        return False

    def forgive(self) -> None:
        """In the zygote, after a cell: whatever ran out of memory is no cause of what comes later."""

    def is_clean(self) -> bool:
        """In the zygote, when all processes of a call are gone: whether nothing else is left of it."""
        return all(_emptied(Path(folder)) for folder in self._folders)


class SealedJail(OpenJail):
    """Levels FULL (`uid` is the program's own) and USER (`uid` is None: it stays the service's)."""

    def __init__(self, home: Path, uid: int | None, blueprint: Blueprint) -> None:
        super().__init__(home)
        self._folders = (view.WORK_FOLDER, view.SHARED_MEMORY_FOLDER)
        self._mount_point = home
        self._uid = uid
        self._blueprint = blueprint
        self._onlooker: Onlooker | None = None
        self._memory: cgroup.MemoryGroup | None = None
        self._cpu: cgroup.CpuShare | None = None

    def build_outer_walls(self) -> None:
        self._onlooker = Onlooker()
        group = f"{self._mount_point.parent.name}-{self._mount_point.name}"
        self._memory = cgroup.join_group(group)
        self._cpu = cgroup.join_cpu_group(group)
        if self._uid is None:
            if os.geteuid() == 0:
                raise PermissionError("level 'user' is for ordinary users, as no process limit binds root")
            enter_user_namespace()
        kernel.unshare(NAMESPACES)
        owner = os.geteuid() if self._uid is None else self._uid
        view.enter(self._blueprint.seen, self._mount_point, owner=owner)

    def build_inner_walls(self) -> None:
        """Signals from inside reach a PID 1 only if it has a handler; so it has none."""
        if self._memory is not None:
            self._memory.become_supervisor()
        kernel.set_host_name("sandbox")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._uid is not None:
            os.setgroups([])
        kernel.keep_capabilities(() if self._uid is None else _SUPERVISOR_CAPABILITIES)
        kernel.become_untraceable()
        kernel.forbid_new_privileges()
        kernel.install_seccomp_filter(self._blueprint.filter_program)

    def before_fork(self, request: Request) -> None:
        if self._memory is not None:
            self._memory.before_fork(request.memory_limit_bytes)

    def after_fork(self) -> None:
        if self._memory is not None:
            self._memory.after_fork()

    def lift_memory_limit(self) -> None:
        if self._memory is not None:
            self._memory.lift()

    def enter(self, request: Request) -> None:
        super().enter(request)
        _limit(resource.RLIMIT_NPROC, _MOST_PROCESSES)
        if self._uid is not None:
            os.setresgid(self._uid, self._uid, self._uid)
            os.setresuid(self._uid, self._uid, self._uid)

    def signal_all(self, number: int) -> None:
        """In the zygote, PID 1 of its namespace: everybody else in there."""
        with suppress(ProcessLookupError):
            os.kill(-1, number)

    def look(self) -> Sight:
        assert self._onlooker is not None, "there since the outer walls were built"
        return self._onlooker.look()

    def give_way(self) -> None:
        if self._cpu is not None:
            self._cpu.give_way()

    def claim_share(self) -> None:
        if self._cpu is not None:
            self._cpu.claim()

    def ran_out_of_memory(self) -> bool:
        return self._memory is not None and self._memory.has_killed()

    def forgive(self) -> None:
        if self._memory is not None:
            self._memory.forget_kills()

    def is_clean(self) -> bool:
        """A mode, an owner or times of a private folder itself would reach the next call as well."""
        for folder in self._folders:  # few objects: this is done after each call
            if os.stat(folder).st_mode & 0o7777 != 0o700 or (
                os.listdir(folder) and not _emptied(Path(folder))
            ):
                return False
            os.utime(folder, (0, 0))
        return True


def jail_for(order: SlotOrder, isolation: Isolation, blueprint: Blueprint) -> OpenJail:
    """The jail of one slot."""
    if isolation is Isolation.NONE:
        return OpenJail(order.home)
    uid = _own_uid(order) if isolation is Isolation.FULL else None
    return SealedJail(order.home, uid, blueprint)


def signal_children(number: int) -> None:
    """To our children; when they are killed, a subreaper gets their orphans as its children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        for pid in children.read().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)


def _own_uid(order: SlotOrder) -> int:
    """A uid that nobody else uses, in the doorman: above those that system managers hand out.

    Pools of one host differ by the random names of their folders, as pids are alike in containers that are.
    Where we have fewer uids, as root of a container, the last ones that we have must do, and pools share
    them (they share no more than a limit on processes then).
    """
    assert order.number < _MOST_SLOTS, f"a pool has at most {_MOST_SLOTS} slots"
    *_, last_range = Path("/proc/self/uid_map").read_text().splitlines()
    first, _, length = map(int, last_range.split())
    if first + length > _LAST_UID:
        pool = zlib.crc32(os.fsencode(order.home.parent)) % _MOST_POOLS
        return _FIRST_UID + pool * _MOST_SLOTS + order.number
    return first + length - 1 - order.number


def enter_user_namespace() -> None:
    """One in which our own uid and gid are all there is."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _own_address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _emptied(folder: Path) -> bool:
    for name in os.listdir(folder):
        path = folder / name
        with suppress(OSError, RecursionError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return not os.listdir(folder)
