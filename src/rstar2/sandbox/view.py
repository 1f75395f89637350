"""The file system that a program sees: the interpreter and its libraries, read-only, and nothing else.

    /            a tmpfs of mount points and links, read-only
    <prefix>/... the folders of `sys.path` and the shared libraries, at their usual paths, read-only
    /dev         null, zero, random, urandom; shm is a private tmpfs
    /tmp         a private tmpfs, the working directory (/scratch if the interpreter lives below /tmp)

No /proc and no /sys at all: numeric Python does not need them, and they tell much of the host.
"""

import os
import sys
from pathlib import Path

from rstar2.sandbox import kernel

SHARED_MEMORY_FOLDER = "/dev/shm"
WORK_FOLDER = "/scratch" if sys.prefix.startswith("/tmp/") or sys.base_prefix.startswith("/tmp/") else "/tmp"
"""A private tmpfs must not hide libraries: an interpreter below /tmp leaves that name to them."""

_SCRATCH_LIMITS = "size=64m,nr_inodes=4096,mode=700"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_EXTRAS = ("/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
_LINKS = ("/lib", "/lib64")

_SEALED = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_SEALED_DEVICE = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NOEXEC
_SCRATCH = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def enter(mount_point: Path, *, owner: int) -> None:
    """Leave the host's file system for the view, for ever; needs a mount namespace of our own.

    `mount_point` is an empty folder of the host; `owner` (uid and gid) may write to the private folders.
    """
    root = str(mount_point)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", options="size=1m,mode=755")
    for path in _visible_paths():
        _show(path, root)
    _make_links(root)
    for path in (WORK_FOLDER, SHARED_MEMORY_FOLDER):
        os.makedirs(root + path)
    for path in _DEVICES:
        open(root + path, "x").close()
    kernel.restrict_mount(root, _SEALED)
    _mount_private_parts(root, owner)
    kernel.change_root(root)
    os.chdir(WORK_FOLDER)


def _visible_paths() -> list[str]:
    """Folders and files to show, none inside another."""
    prefixes = (sys.prefix, sys.base_prefix)
    paths = {path for path in sys.path if os.path.isdir(path) and path.startswith(prefixes)}
    paths |= {os.path.realpath(sys.executable), f"{sys.prefix}/pyvenv.cfg", *_EXTRAS}
    libraries = _mapped_libraries()
    paths |= {os.path.dirname(path) for path in libraries if os.path.basename(path).startswith("libc.so")}
    outermost: list[str] = []
    for path in sorted(paths | libraries):
        if os.path.exists(path) and not any(path.startswith(f"{parent}/") for parent in outermost):
            outermost.append(path)
    return outermost


def _mapped_libraries() -> set[str]:
    """Shared libraries that this process has loaded."""
    lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    return {path for *_, path in lines if path.startswith("/") and ".so" in os.path.basename(path)}


def _show(path: str, root: str) -> None:
    """Mount a file or folder of the host at the same path below `root`; our own package stays hidden."""
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "x").close()
    kernel.mount(path, target, flags=kernel.MS_BIND | kernel.MS_REC)
    our_package = str(Path(__file__).parents[1])
    if our_package.startswith(f"{path}/"):
        kernel.mount("tmpfs", root + our_package, "tmpfs", options="size=4k,mode=755")


def _make_links(root: str) -> None:
    """The system's library links, and the interpreter's usual name if that is a link."""
    for path in filter(os.path.islink, _LINKS):
        os.symlink(os.readlink(path), root + path)
    if not os.path.lexists(root + sys.executable):
        os.makedirs(os.path.dirname(root + sys.executable), exist_ok=True)
        os.symlink(os.path.realpath(sys.executable), root + sys.executable)


def _mount_private_parts(root: str, owner: int) -> None:
    for path in _DEVICES:
        kernel.mount(path, root + path, flags=kernel.MS_BIND)
        kernel.restrict_mount(root + path, _SEALED_DEVICE)
    for path in (WORK_FOLDER, SHARED_MEMORY_FOLDER):
        kernel.mount("tmpfs", root + path, "tmpfs", _SCRATCH, f"{_SCRATCH_LIMITS},uid={owner},gid={owner}")
