"""The HTTP application around a Service: which routes there are, who may call them, and errors as JSON.

Whatever a client sends, it gets JSON and a status that is true; a 500 is a bug of ours, and is logged.
"""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from socket import socket

from aiohttp import web

from rstar2.bearer_token import is_shown
from rstar2.sandbox.fair_queue import QueueFull
from rstar2.sandbox.flight import TooMuchOutput
from rstar2.sandbox.server.native import ABOUT, About
from rstar2.sandbox.server.route import SERVICE, SESSIONS, BadBody, Handler, HostedSessions, Route, refusal
from rstar2.sandbox.server.table import ROUTES
from rstar2.sandbox.service import Draining, Service

_log = logging.getLogger(__name__)

_MOST_BODY_BYTES = 256 << 20
_GOODBYE_S = 5.0
"""For handlers to write their last answers."""


def make_app(
    service: Service,
    about: About,
    *,
    sessions: HostedSessions | None = None,
    token: str | None = None,
    routes: Sequence[Route] = ROUTES,
    most_body_bytes: int = _MOST_BODY_BYTES,
) -> web.Application:
    """`token` is asked of all but public routes; None asks for none."""
    public_paths = frozenset(route.path for route in routes if route.is_public)

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "Origin" in request.headers:  # sent by browsers, where any page can post to loopback
            return refusal(403, "pages in browsers may not use this service; send no 'Origin' header")
        shown = request.headers.get("Authorization", "")
        if token is not None and request.path not in public_paths and not is_shown(shown, token):
            return refusal(401, "the token is missing or wrong; send 'Authorization: Bearer <token>'")
        return await _answer(request, handler)

    app = web.Application(middlewares=[answer], client_max_size=most_body_bytes)
    app[SERVICE], app[ABOUT] = service, about
    if sessions is not None:
        app[SESSIONS] = sessions
    app.add_routes([web.route(route.method, route.path, route.handler) for route in routes])
    return app


@asynccontextmanager
async def listening(app: web.Application, bound: socket) -> AsyncIterator[None]:
    """Serve the application on a bound socket; at the end, last answers get a few seconds to leave.

    Connections get half of the descriptors that this process may have: idle strangers must not take those
    that programs need.
    """
    most_connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # a client that hung up waits for nothing: its program is stopped
        auto_decompress=False,  # a small body stays small
        shutdown_timeout=_GOODBYE_S,
    )
    await runner.setup()
    server = runner.server
    assert server is not None, "set up just now"

    def welcome() -> asyncio.BaseProtocol:
        return server() if len(server.connections) < most_connections else _Refusal()

    try:
        with closing(await asyncio.get_running_loop().create_server(welcome, sock=bound, backlog=1024)):
            yield
    finally:
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    """Hangs up at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or a refusal that says why there is none."""
    try:
        return await handler(request)
    except BadBody as error:
        return refusal(422, str(error))
    except QueueFull as error:
        return refusal(429, str(error), Retry_After="1")
    except TooMuchOutput as error:
        return refusal(413, str(error))
    except Draining as error:
        return refusal(503, str(error), Retry_After="5")
    except web.HTTPException as error:
        return refusal(error.status, _advice(request, error))
    except ConnectionError:
        raise  # the client is gone; there is nobody to answer
    except Exception:  # a bug of ours: told once, and the next request finds the service alive
        _log.exception("%s %r failed", request.method, request.path)
        return refusal(500, "the service failed; its log says why")


def _advice(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.method} is not for {request.path}; use {' or '.join(sorted(error.allowed_methods))}"
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return "the body is too large; post fewer jobs at once"
    return f"{error.reason}; /openapi.json lists what there is"
