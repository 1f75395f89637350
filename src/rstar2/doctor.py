"""Is this machine fit to run rstar2? Facts about it, each with a remedy where something is missing.

Nothing is fixed or changed here. Kernel features are tried in a child process, since what a kernel has
and what a container permits are two things.
"""

import ctypes
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_GIB = 2**30
_MIN_CORES = 2
_MIN_MEMORY_GIB = 4.0
_MIN_DISK_GIB = 5.0

_EXTRAS = {
    "datasets": "reads problems from the Hugging Face hub: pip install rstar2[hub]",
    "tensorboard": "shows metrics: pip install rstar2[trackers]",
    "wandb": "shows metrics: pip install rstar2[trackers]",
    "vllm": "generates on GPUs: pip install vllm",
    "ray": "runs on a cluster: pip install ray",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the machine."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    """What to do about it unless `ok`."""
    required: bool = True
    """False if rstar2 runs without it, only less fast or less well."""


def examine(folder: Path = Path()) -> tuple[Finding, ...]:
    """All findings, most basic first; `folder` is where runs will be written."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _interpreter,
        _resources,
        lambda: _disk(folder),
        _torch,
        _extras,
        _isolation,
    ]
    return tuple(finding for check in checks for finding in check())


def _interpreter() -> Iterator[Finding]:
    yield Finding(
        name="python",
        ok=sys.version_info >= (3, 11),
        found=platform.python_version(),
        remedy="install Python 3.11 or newer",
    )


def _resources() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    yield Finding(
        name="cores",
        ok=cores >= _MIN_CORES,
        found=str(cores),
        remedy="sandboxes and generation will wait for each other; give at least two cores",
        required=False,
    )
    memory = psutil.virtual_memory()
    yield Finding(
        name="memory",
        ok=memory.available >= _MIN_MEMORY_GIB * _GIB,
        found=f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB available",
        remedy=f"free at least {_MIN_MEMORY_GIB:.0f} GiB",
    )


def _disk(folder: Path) -> Iterator[Finding]:
    free_gib = shutil.disk_usage(folder).free / _GIB
    yield Finding(
        name="disk",
        ok=free_gib >= _MIN_DISK_GIB,
        found=f"{free_gib:.1f} GiB free in {folder.resolve()}",
        remedy=f"checkpoints need room; free at least {_MIN_DISK_GIB:.0f} GiB or write elsewhere",
    )


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library of the build is missing
        yield Finding(name="torch", ok=False, found=str(error), remedy="pip install torch")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    yield Finding(name="torch", ok=True, found=f"{torch.__version__} ({build})")
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    yield Finding(
        name="gpu",
        ok=bool(devices),
        found=", ".join(f"{d.name} {d.total_memory / _GIB:.0f} GiB" for d in devices) or "none",
        remedy="the tiny recipe runs on the CPU; for more, install a CUDA build of torch and its driver",
        required=False,
    )


def _extras() -> Iterator[Finding]:
    for name, use in _EXTRAS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name=name, ok=False, found="not installed", remedy=use, required=False)
        else:
            yield Finding(name=name, ok=True, found=version, required=False)


# What the kernel lets an unprivileged process do to lock itself in.

_PROBE_TOOLS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
def enter(*namespaces):
    user, group = os.getuid(), os.getgid()
    flags = {"user": 0x10000000, "mount": 0x00020000, "network": 0x40000000, "process": 0x20000000}
    call(libc.unshare, sum(flags[name] for name in namespaces))
    for name, line in ("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1"):
        with open("/proc/self/" + name, "w") as file:
            file.write(line)
"""
_MOUNT_TMPFS = """
enter("user", "mount")
call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None)
"""
_MOUNT_OVERLAY = """
for name in ("lower", "upper", "work", "merged"):
    os.mkdir("/tmp/" + name)
options = b"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr"
call(libc.mount, b"none", b"/tmp/merged", b"overlay", 0, options)
"""
_PROBES = {
    "user namespaces": 'enter("user")',
    "network and process namespaces": 'enter("user", "network", "process")',
    "tmpfs mounts": _MOUNT_TMPFS,
    "overlay mounts": _MOUNT_TMPFS + _MOUNT_OVERLAY,
}
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1


def _isolation() -> Iterator[Finding]:
    """Each is one layer of the sandbox's walls; fewer of them make weaker walls."""
    if sys.platform != "linux":
        yield _wall("kernel isolation", ok=False, found=sys.platform)
        return
    for name, probe in _PROBES.items():
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROBE_TOOLS + probe],
            capture_output=True,
            text=True,
            timeout=30,
        )
        yield _wall(name, ok=done.returncode == 0, found=_last_line(done.stderr) or "permitted")
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    yield _wall(
        "seccomp", ok=actions.exists(), found=actions.read_text().strip() if actions.exists() else "no"
    )
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    yield _wall("landlock", ok=version > 0, found=f"version {version}" if version > 0 else "no")
    yield _cgroup()


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _cgroup() -> Finding:
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        return _wall("cgroups", ok=False, found="version 1 or none")
    own = root / Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    writable = os.access(own, os.W_OK)
    return _wall("cgroups", ok=writable, found=f"version 2, {'writable' if writable else 'read-only'}")


def _wall(name: str, *, ok: bool, found: str) -> Finding:
    remedy = (
        "the sandbox has one wall less; let the container or kernel permit it, or run trusted models only"
    )
    return Finding(name=name, ok=ok, found=found, remedy=remedy, required=False)
