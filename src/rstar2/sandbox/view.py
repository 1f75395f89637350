"""The file system that a program sees: the interpreter and its libraries, read-only, and nothing else.

    /            a tmpfs of mount points and links, read-only
    <prefix>/... the folders of `sys.path` and the shared libraries, at their usual paths, read-only
    /dev         null, zero, random, urandom; shm is a private tmpfs
    /tmp         a private tmpfs, the working directory (/scratch if the interpreter lives below /tmp)

No /proc and no /sys at all: numeric Python does not need them, and they tell much of the host.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rstar2.sandbox import kernel
from rstar2.sandbox.mappings import own_mappings

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


@dataclass(frozen=True, slots=True)
class Survey:
    """What of the host is to be seen, and what must be there to mount it on; paths of the host."""

    shown: tuple[str, ...]
    """Folders and files, none inside another."""
    hidden: tuple[str, ...]
    """Folders inside those, covered again: our own package."""
    folders: tuple[str, ...]
    """To be made, outer ones first."""
    files: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    """(path, where it points)."""


def survey() -> Survey:
    """Look at the host, once, from the interpreter whose libraries are to be shown.

    Apart from `enter`, which every slot repeats in memory that it shares until it writes to it.
    """
    shown = _visible_paths()
    links = [(path, os.readlink(path)) for path in _LINKS if os.path.islink(path)]
    if not _is_inside(sys.executable, shown):
        links.append((sys.executable, os.path.realpath(sys.executable)))
    files = [*filter(os.path.isfile, shown), *_DEVICES]
    folders = {*filter(os.path.isdir, shown), WORK_FOLDER, SHARED_MEMORY_FOLDER}
    for path in (*folders, *files, *(path for path, _ in links)):
        folders |= {str(parent) for parent in Path(path).parents[:-1]}
    our_package = str(Path(__file__).parents[1])
    return Survey(
        shown=tuple(shown),
        hidden=(our_package,) if _is_inside(our_package, shown) else (),
        folders=tuple(sorted(folders)),
        files=tuple(files),
        links=tuple(links),
    )


def enter(seen: Survey, mount_point: Path, *, owner: int) -> None:
    """Leave the host's file system for the view, for ever; needs a mount namespace of our own.

    `mount_point` is an empty folder of the host; `owner` (uid and gid) may write to the private folders.
    """
    root = str(mount_point)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", options="size=1m,mode=755")
    for path in seen.folders:
        os.mkdir(root + path)
    for path in seen.files:
        os.close(os.open(root + path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    for path, target in seen.links:
        os.symlink(target, root + path)
    for path in seen.shown:
        kernel.mount(path, root + path, flags=kernel.MS_BIND | kernel.MS_REC)
    for path in seen.hidden:
        kernel.mount("tmpfs", root + path, "tmpfs", options="size=4k,mode=755")
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
        if os.path.exists(path) and not _is_inside(path, outermost):
            outermost.append(path)
    return outermost


def _is_inside(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _mapped_libraries() -> set[str]:
    """Shared libraries that this process has loaded."""
    paths = {mapping.name for mapping in own_mappings()}
    return {path for path in paths if path.startswith("/") and ".so" in os.path.basename(path)}


def _mount_private_parts(root: str, owner: int) -> None:
    for path in _DEVICES:
        kernel.mount(path, root + path, flags=kernel.MS_BIND)
        kernel.restrict_mount(root + path, _SEALED_DEVICE)
    for path in (WORK_FOLDER, SHARED_MEMORY_FOLDER):
        kernel.mount("tmpfs", root + path, "tmpfs", _SCRATCH, f"{_SCRATCH_LIMITS},uid={owner},gid={owner}")
