"""The page of a run while it goes on, for one person on this machine.

    GET /           the page, still empty
    POST /changes   the parts that the page does not have in their present state, which it asks for again and
                    again; the body lists the digests of those that it has, too many for an address

Reads files and writes none. It has no token: it must listen on loopback alone, and answers only requests
that were addressed to loopback by name, so that no page of another site can read the run.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from rstar2.evaluation.report.run_parts import RunParts
from rstar2.evaluation.report.writing import json_object, render

_OWN_NAMES = {"127.0.0.1", "localhost", "::1"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def live_page(folder: Path) -> web.Application:
    """The application; the run need not have begun."""
    run, reading = RunParts(folder), threading.Lock()

    def parts_now() -> dict[str, str]:
        with reading:  # a page that is reloaded gives up its request, but not the thread that reads for it
            return run.read()

    async def page(_: web.Request) -> web.Response:
        text = render([{}], title=folder.resolve().name, is_live=True)
        return web.Response(text=text, content_type="text/html")

    async def changes(request: web.Request) -> web.Response:
        known = set((await request.read()).split(b","))
        parts = await asyncio.to_thread(parts_now)  # a long run takes a while to be read for the first time
        digests = {name: _digest(text) for name, text in parts.items()}
        changed = {name: parts[name] for name, digest in digests.items() if digest.encode() not in known}
        text = f'{{"digests":{json.dumps(digests)},"changed":{json_object(changed)}}}'
        return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})

    app = web.Application(middlewares=[_for_this_machine])
    app.add_routes([web.get("/", page), web.post("/changes", changes)])
    return app


@web.middleware
async def _for_this_machine(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if request.url.host not in _OWN_NAMES:
        raise web.HTTPForbidden(text="this page is for its own machine: open it as 127.0.0.1")
    return await handler(request)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
