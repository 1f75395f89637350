"""`rstar2 sandbox serve`: run programs for whoever posts them, until a signal says stop.

The first SIGTERM or SIGINT drains: what was accepted is finished and answered. A second one, or the end of
the patience, ends the programs at once; their jobs are answered too, as failed. Nothing is left behind.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from rstar2.bearer_token import read_token
from rstar2.console import console
from rstar2.sandbox import WorkerPool
from rstar2.sandbox.host import probe_host
from rstar2.sandbox.jail import MOST_WORKERS, Isolation
from rstar2.sandbox.server.app import listening, make_app
from rstar2.sandbox.server.code_judge import LIMITS
from rstar2.sandbox.server.judge_messages import JudgeLimits
from rstar2.sandbox.server.native import About
from rstar2.sandbox.service import Service
from rstar2.sandbox.sessions import SessionPool
from rstar2.verbs.address import bound_to, check_strangers, resolved, url_of

_WORKERS_PER_CORE = 8
"""Sleeping and endless programs hold a worker, not a core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the command line asked for."""

    host: str
    port: int
    """0 for any free one."""
    workers: int | None
    """None for eight per core."""
    isolation: str | None
    """None for the strongest that this user can have."""
    token_file: Path | None
    is_insecure: bool
    """Strangers may come without a token."""
    max_queued: int
    drain_s: float
    judge_time_limit_s: float
    """Of programs that code-judge's clients post: they cannot say."""
    judge_memory_limit_mb: int


def serve(serving: Serving) -> None:
    """Until a signal, and then until drained."""
    token = read_token(serving.token_file, setting="--token-file") if serving.token_file else None
    family, address = resolved(serving.host, serving.port)
    check_strangers(address, has_token=token is not None, is_insecure=serving.is_insecure)
    with bound_to(family, address) as bound:
        _collect_seldom()
        asyncio.run(_serve(serving, token, bound))


async def _serve(serving: Serving, token: str | None, bound: socket.socket) -> None:
    stop, stop_at_once = _signals()
    isolation = Isolation(serving.isolation) if serving.isolation else None
    num_workers = serving.workers or min(_WORKERS_PER_CORE * (os.cpu_count() or 1), MOST_WORKERS)
    async with (
        WorkerPool(num_workers=num_workers, isolation=isolation) as pool,
        SessionPool(pool) as sessions,
    ):
        service = Service(
            pool,
            num_workers=num_workers,
            max_queued=serving.max_queued,
            num_retries=lambda: pool.num_retries,
        )
        about = About(isolation=pool.isolation, notes=await asyncio.to_thread(_notes))
        app = make_app(service, about, sessions=sessions, token=token)
        app[LIMITS] = JudgeLimits(
            time_limit_s=serving.judge_time_limit_s, memory_limit_mb=serving.judge_memory_limit_mb
        )
        async with listening(app, bound):
            ready = f"ready: {url_of(bound)} ({num_workers} workers, isolation {pool.isolation})"
            console.print(ready, soft_wrap=True)
            await stop.wait()
            await _drain(service, stop_at_once, serving.drain_s)
            # Programs that still run die with the pool, and their jobs are answered while we still listen.
            await pool.close()
            await service.drain()


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second signal to stop."""
    first, second = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: second.set() if first.is_set() else first.set()
        )
    return first, second


async def _drain(service: Service, stop_at_once: asyncio.Event, patience_s: float) -> None:
    """Wait until all is served, or the patience is at its end."""
    waits = [asyncio.create_task(service.drain()), asyncio.create_task(stop_at_once.wait())]
    await asyncio.wait(waits, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if num_left := service.num_running + service.num_queued():
        logging.getLogger(__name__).warning("stopped before %d jobs had been run", num_left)


def _notes() -> tuple[str, ...]:
    """What this machine lacks, as health pages say it."""
    lacks = [feature for feature in probe_host() if not feature.is_available]
    return tuple(f"{feature.name}: {feature.lack}; {feature.remedy}" for feature in lacks)


def _collect_seldom() -> None:
    """A batch makes hundreds of thousands of objects, hardly any of them in cycles: a quarter of its CPU."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
