"""A Ray cluster for the length of a run: joined, or started here.

One that is started here is this machine alone, bound to the loopback address, without a dashboard, and ends
with the run. What is booked of another cluster is given back; the cluster itself is left as it is.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from rstar2.cluster.layout import Block
from rstar2.errors import ConfigError

if TYPE_CHECKING:
    from rstar2.cluster.actors import Cluster

LOCAL = "local"
"""In place of an address: start one here."""
LOOPBACK = "127.0.0.1"
"""What the node of such a cluster calls itself."""

_CONNECT_LIMIT_S = 10.0
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its coming default: a process without GPUs is left as it is
}
_ENVIRONMENT_HERE = {
    # Despite its name: without it, ray takes an address of this machine that others can reach.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
}


@contextmanager
def connected(address: str, blocks: Sequence[Block]) -> Iterator["Cluster"]:
    """A cluster with the blocks booked; on leaving, all that was started or booked is gone."""
    _prepare_environment(_ENVIRONMENT | (_ENVIRONMENT_HERE if address == LOCAL else {}))
    try:
        import ray
    except ImportError:
        raise ConfigError("--cluster needs Ray: pip install 'rstar2[ray]'") from None
    from rstar2.cluster.actors import Cluster, booked

    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # Cores are lent twice where there are too few: the parts of a small run mostly wait for each other.
        num_cpus = max(os.cpu_count() or 1, ceil(sum(block.cpus for block in blocks)))
        options |= {"num_cpus": num_cpus, "include_dashboard": False}
    else:
        _check_somebody_listens(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())  # of several lines if versions differ
        raise ConfigError(
            f"no Ray cluster can be joined at '{address}' ({reason}): if it asks for a token, "
            "set RAY_AUTH_MODE=token here too, and copy ~/.ray/auth_token from its first machine"
        ) from error
    # Where the raylet reaps orphans, Ray ignores SIGCHLD in this process too: we would never learn how
    # children of our own have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if address == LOCAL:
            node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            assert node == LOOPBACK, "ray was imported before its environment was set: others can reach it"
        yield Cluster(booked(blocks), blocks)
    finally:
        ray.shutdown()


def _check_somebody_listens(address: str) -> None:
    """Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(
            f"--cluster is '{LOCAL}' or HOST:PORT of a Ray cluster's first machine, not '{address}'"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_LIMIT_S).close()
    except OSError as error:
        raise ConfigError(
            f"nobody answers at {address} ({error}): start Ray there with `ray start --head --port {port}`, "
            "with the same RAY_AUTH_MODE as here"
        ) from error


def _prepare_environment(variables: Mapping[str, str]) -> None:
    """Ray reads it once, when it is imported, and hands it on to its processes."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
