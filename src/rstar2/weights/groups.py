"""Process groups for one broadcast: made of whoever is there, and given up when it is over.

torch's default group is not touched: the learner's ranks and vLLM's workers have worlds of their own. Members
find each other through a store that outlives the group.

A member that is lost breaks the group for all others within `limit_s`. With NCCL there is a gap: one that is
lost just while all connect holds up the others until NCCL itself gives up.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, Store, TCPStore

from rstar2.errors import InfrastructureError

BackendName = Literal["gloo", "nccl"]
HOST_MEMORY = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One member's place in a group."""

    group: str
    """No other group of the store ever has this name."""
    rank: int
    """0 sends."""
    size: int
    backend: BackendName


class GroupBroken(InfrastructureError):
    """A member of a group is lost; the others may form another one."""


class Group:
    """Those who sit together; buffers are on the device of the backend."""

    def __init__(self, backend: Any, limit: timedelta) -> None:
        self._backend = backend
        self._limit = limit

    def broadcast(self, buffer: Tensor) -> None:
        """From rank 0 into everybody else's buffer."""
        with _breaking():
            self._backend.broadcast(buffer, 0).wait(self._limit)

    def close(self, *, is_broken: bool) -> None:
        """Drops the connections: if too early for the others, they hear of it as of a loss."""
        # Not kept by the traceback of an error, either: gloo's connections last as long as the object.
        backend, self._backend = self._backend, None
        with _breaking():
            backend.abort() if is_broken else backend.shutdown()


@contextmanager
def joined(store: TCPStore, seat: Seat, *, device: torch.device, limit_s: float) -> Iterator[Group]:
    """The group, once all have come. On leaving, its connections are closed."""
    limit = timedelta(seconds=limit_s)
    meeting = PrefixStore(seat.group, store)
    with _breaking():
        meeting.set(f"here/{seat.rank}", "")
        meeting.wait([f"here/{rank}" for rank in range(seat.size)], limit)
        if seat.backend == "gloo":
            group = Group(_gloo(meeting, seat, own_address(store.host, store.port), limit), limit)
        else:
            group = Group(_nccl(meeting, seat, limit), limit)
    try:
        with torch.cuda.device(device if device.type == "cuda" else -1):
            yield group
    except BaseException:
        group.close(is_broken=True)
        raise
    group.close(is_broken=False)


def backend_for(gpus: Sequence[str]) -> BackendName:
    """By the members' GPUs, empty for one that has none: NCCL takes one member per GPU and nobody else."""
    return "nccl" if all(gpus) and len(set(gpus)) == len(gpus) else "gloo"


def gpu_of(device: torch.device) -> str:
    """What no other GPU is called, on any machine; empty for host memory."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def own_address(host: str, port: int) -> str:
    """Of this machine, as it is seen from there: the same interface serves for the group."""
    ((family, kind, _, _, place), *_) = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    with socket.socket(family, kind) as probe:
        probe.connect(place)  # of a datagram socket: nothing is sent
        address: str = probe.getsockname()[0]
        return address


@contextmanager
def _breaking() -> Iterator[None]:
    """torch's failures, and the network's, as ours."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise GroupBroken(str(error).splitlines()[0]) from error


def _gloo(meeting: Store, seat: Seat, address: str, limit: timedelta) -> Any:
    options = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices = [ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = limit
    return ProcessGroupGloo(meeting, seat.rank, seat.size, options)


def _nccl(meeting: Store, seat: Seat, limit: timedelta) -> Any:
    from torch.distributed.distributed_c10d import ProcessGroupNCCL  # not in every build

    options = ProcessGroupNCCL.Options()
    options._timeout = limit
    # Else the watchdog would end the process, a learner's, because a receiver is lost.
    with _environment("TORCH_NCCL_BLOCKING_WAIT", "1"):
        return ProcessGroupNCCL(meeting, seat.rank, seat.size, options)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
