"""The mother: one process that imports and warms the heavy libraries once, and forks every zygote.

She is told over one socket: each message asks for one more slot and carries its end of the slot's channel.
She reads no call's data and serves no call. Run by `launch_command`, in an interpreter that knows no
module of ours but this folder's.
"""

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from rstar2.sandbox import kernel, warmth, zygote
from rstar2.sandbox.jail import Jail

_BOOT = """
import sys, types
for name in ("rstar2", "rstar2.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["rstar2.sandbox"].__path__ = [sys.argv[1]]
from rstar2.sandbox import mother
mother.main(int(sys.argv[2]))
"""
"""Our packages as empty shells: their `__init__` modules would pull in the rest of the project."""

READY = b"ready"

ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All she inherits. A fixed hash seed: the order of a set of strings is the same in every run."""


def launch_command(control_fd: int) -> list[str]:
    """argv of a mother that listens on `control_fd`."""
    return [sys.executable, "-P", "-s", "-c", _BOOT, str(Path(__file__).parent), str(control_fd)]


def main(control_fd: int) -> None:
    """Warm up, say so, then fork a zygote per message until the pool hangs up."""
    control = socket.socket(fileno=control_fd)
    _warm_up()
    control.send(READY)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _become_a_zygote(fds[0], Path(os.fsdecode(message)))
        os.close(fds[0])


def _warm_up() -> None:
    warmth.warm_up()
    gc.collect()
    gc.freeze()


def _become_a_zygote(channel_fd: int, home: Path) -> NoReturn:
    """In the child: close the jail's outer door, hand the pool a handle to kill us by, serve."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        channel = socket.socket(fileno=channel_fd)
        kernel.become_subreaper()
        jail = Jail(home)
        socket.send_fds(channel, [READY], [os.pidfd_open(os.getpid())])
        with suppress(ConnectionError):
            zygote.serve(channel, jail)
    finally:
        os._exit(1)
