"""`rstar2 serve`: a checkpoint behind OpenAI's HTTP API, until a signal says stop.

The signal ends it at once: clients whose answers are not whole find the connection closed, and ask again.
"""

import asyncio
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from rstar2.assemble import Players, playing
from rstar2.assemble.reading import new_reader
from rstar2.bearer_token import read_token
from rstar2.config import RunConfig
from rstar2.console import console
from rstar2.models.loading import max_positions
from rstar2.sandbox.server.app import listening
from rstar2.serving import Agent, Read, Served, make_app
from rstar2.verbs.address import bound_to, check_strangers, resolved, url_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What the command line asked for."""

    host: str
    port: int
    """0 for any free one."""
    token_file: Path | None
    is_insecure: bool
    """Strangers may come without a token."""
    with_tools: bool
    """Calls are run here, and not by the clients."""
    with_echo: bool
    """Prompts are read back, by a second copy of the weights."""


def serve(config: RunConfig, options: Listening) -> None:
    """Serve `model.base` until a signal."""
    file = options.token_file
    token = read_token(file, setting="--token-file") if file else None
    family, address = resolved(options.host, options.port)
    check_strangers(address, has_token=token is not None, is_insecure=options.is_insecure)
    with bound_to(family, address) as bound:
        asyncio.run(_serve(config, bound, token, options))


async def _serve(config: RunConfig, bound: socket.socket, token: str | None, options: Listening) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with playing(config) as players:
        read = new_reader(config) if options.with_echo else None
        served = served_by(players, config, with_tools=options.with_tools, read=read)
        async with listening(make_app(served, token=token), bound):
            console.print(f"ready: {url_of(bound)}/v1 (model {served.name})", soft_wrap=True)
            await stop.wait()


def served_by(players: Players, config: RunConfig, *, with_tools: bool, read: Read | None = None) -> Served:
    """The players as one model of the server."""
    agent = Agent(
        tools=players.tools,
        call_tool=players.collector.call_tool,
        max_turns=config.evaluation.max_turns,
        tool_response_chars=config.protocol.tool_response_chars,
    )
    max_total_tokens = max(load.max_total_tokens for load in players.dispatcher.loads())
    return Served(
        name=config.model.base,
        template=players.template,
        engines=players.engines,
        dispatcher=players.dispatcher,
        context_tokens=min(max_positions(config.model.base), max_total_tokens),
        max_tokens=config.evaluation.max_response_tokens,
        agent=agent if with_tools else None,
        read=read,
    )
