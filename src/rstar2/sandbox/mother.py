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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from rstar2.sandbox import kernel, pages, warmth, wire, zygote
from rstar2.sandbox.jail import Isolation, jail_for
from rstar2.sandbox.wire import SlotOrder

_LARGEST_MESSAGE_BYTES = 4096

_BOOT = """
import sys, types
for name in ("rstar2", "rstar2.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["rstar2.sandbox"].__path__ = [sys.argv[1]]
from rstar2.sandbox import mother
mother.main(int(sys.argv[2]), mother.Isolation(sys.argv[3]), sys.argv[4:])
"""
"""Our packages as empty shells: their `__init__` modules would pull in the rest of the project."""

ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All she inherits. A fixed hash seed: the order of a set of strings is the same in every run."""


def launch_command(control_fd: int, isolation: Isolation, libraries: Sequence[str]) -> list[str]:
    """argv of a mother that listens on `control_fd`."""
    folder = str(Path(__file__).parent)
    return [sys.executable, "-P", "-s", "-c", _BOOT, folder, str(control_fd), isolation, *libraries]


def main(control_fd: int, isolation: Isolation, libraries: Sequence[str]) -> None:
    """Warm up, say so, then have a zygote born per message until the pool hangs up.

    As a subreaper that ignores SIGCHLD she adopts the zygotes and leaves no zombie of them.
    """
    control = socket.socket(fileno=control_fd)
    _warm_up(libraries)
    control.send(wire.READY)
    kernel.become_subreaper()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(control, _LARGEST_MESSAGE_BYTES, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _become_a_doorman(socket.socket(fileno=fds[0]), SlotOrder.unpack(message), isolation)
        os.close(fds[0])


def _warm_up(libraries: Sequence[str]) -> None:
    """Afterwards our own modules are at work, but no program finds them by name."""
    warmth.warm_up(libraries)
    for name in [name for name in sys.modules if name.split(".")[0] == "rstar2"]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    pages.collapse_heap()


def _become_a_doorman(channel: socket.socket, order: SlotOrder, isolation: Isolation) -> NoReturn:
    """Build the outer walls, leave a zygote inside, and go; a failure is told to the pool.

    Two processes, because only the children of a process that asks for a PID namespace live in it.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        jail = jail_for(order, isolation)
        jail.build_outer_walls()
        if os.fork() == 0:
            jail.build_inner_walls()
            socket.send_fds(channel, [wire.READY], [os.pidfd_open(os.getpid())])
            with suppress(ConnectionError):
                zygote.serve(channel, jail)
    except Exception as error:  # whatever it is, the pool must hear that there is no sealed slot
        channel.send(f"the sandbox cannot be sealed on this machine: {error}".encode())
    finally:
        os._exit(0)
