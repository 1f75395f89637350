"""`rstar2 view`: the page of a run, live on this machine, until a signal says stop."""

import asyncio
import signal
import socket
from pathlib import Path

from rstar2.console import console
from rstar2.evaluation.report.live import live_page
from rstar2.sandbox.server.app import listening
from rstar2.verbs.address import bound_to, url_of


def view(folder: Path, *, port: int) -> None:
    """Serve the page on loopback; `port` 0 takes any free one."""
    with bound_to(socket.AF_INET, ("127.0.0.1", port)) as bound:
        asyncio.run(_view(folder, bound))


async def _view(folder: Path, bound: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with listening(live_page(folder), bound):
        begun = "" if folder.is_dir() else ", which does not exist yet: the page waits for it"
        console.print(f"ready: {url_of(bound)} shows {folder}{begun}; Ctrl-C ends it", soft_wrap=True)
        await stop.wait()
