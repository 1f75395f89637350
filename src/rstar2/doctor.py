"""Is this machine fit to run rstar2? Facts about it, each with a remedy where something is missing.

Nothing is fixed or changed here. What the kernel offers to seal programs with is tried by the sandbox itself.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rstar2.sandbox import cgroup
from rstar2.sandbox.host import probe_host

_GIB = 2**30
_MIN_CORES = 2
_MIN_MEMORY_GIB = 4.0
_MIN_DISK_GIB = 5.0

_EXTRAS = {
    "datasets": "reads problems from the Hugging Face hub: pip install rstar2[hub]",
    "tensorboard": "shows metrics: pip install rstar2[tensorboard]",
    "wandb": "shows metrics: pip install rstar2[wandb]",
    "peft": "trains adapters: pip install rstar2[lora]",
    "matplotlib": "draws the curves of `rstar2 reproduce`: pip install rstar2[plots]",
    "mcp": "lets rollouts call the tools of MCP servers: pip install rstar2[mcp]",
    "vllm": "generates on GPUs: pip install rstar2[vllm]",
    "ray": "runs on a cluster: pip install rstar2[ray]",
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
        _sandbox,
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


def _sandbox() -> Iterator[Finding]:
    """What programs are sealed with; without the required features no sealed sandbox starts."""
    if sys.platform != "linux":
        yield Finding(name="sandbox", ok=False, found=sys.platform, remedy="run on Linux, or in a container")
        return
    for feature in probe_host():
        yield Finding(
            name=f"sandbox {feature.name}",
            ok=feature.is_available,
            found=feature.lack or "works",
            remedy=feature.remedy,
            required=feature.is_required,
        )
    if count := cgroup.num_abandoned():
        yield Finding(
            name="sandbox leftovers",
            ok=True,
            found=f"{count} control groups of pools that were killed; the next pool removes them",
            required=False,
        )
