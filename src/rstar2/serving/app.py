"""The HTTP application: routes, whole answers, streams of server-sent events, refusals.

Whatever a client sends, it gets JSON in OpenAI's form and a status that is true; a 500 is a bug of ours,
and is logged. A client that hangs up cancels its request, and with it the engines' rows.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from rstar2.bearer_token import is_shown
from rstar2.errors import CapacityError, InfrastructureError
from rstar2.serving.choices import Numbered, chat_tasks, completion_tasks, written_chat, written_completions
from rstar2.serving.refusal import CONTEXT_TOO_LONG, Refusal, about
from rstar2.serving.replies import ChatReply, CompletionReply, Json, Reply, total
from rstar2.serving.requests import ChatRequest, CompletionRequest, TextRequest
from rstar2.serving.served import Served
from rstar2.serving.writing import Delta, Task

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=TextRequest)

_MOST_BODY_BYTES = 8 << 20
"""Text of some two million tokens: no engine holds more, and to tokenize it takes the loop for seconds."""
_SERVED = web.AppKey("served", Served)
_STARTED_S = web.AppKey("started_s", int)


def make_app(served: Served, *, token: str | None = None) -> web.Application:
    """`token` is what clients must give as their API key; None asks for none."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        if token is not None and request.path != "/health" and not is_shown(shown, token):
            return _refused(Refusal("the API key is missing or wrong", status=401, code="invalid_api_key"))
        return await _answer(request, handler)

    app = web.Application(middlewares=[answer], client_max_size=_MOST_BODY_BYTES)
    app[_SERVED], app[_STARTED_S] = served, int(time.time())
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/v1/models", _models),
            web.get("/v1/models/{model:.+}", _model),
            web.post("/v1/chat/completions", _chat),
            web.post("/v1/completions", _complete),
        ]
    )
    return app


async def _chat(http: web.Request) -> web.StreamResponse:
    served = http.app[_SERVED]
    request = await _read(http, ChatRequest)
    tasks = chat_tasks(served, request)
    reply = _reply(ChatReply, served, tasks, wants_logprobs=request.logprobs)
    return await _reply_to(http, request, written_chat(served, request, tasks), reply, len(tasks))


async def _complete(http: web.Request) -> web.StreamResponse:
    served = http.app[_SERVED]
    request = await _read(http, CompletionRequest)
    tasks = completion_tasks(served, request)
    reply = _reply(
        CompletionReply,
        served,
        tasks,
        wants_logprobs=request.logprobs is not None,
        wants_token_ids=request.return_token_ids,
    )
    return await _reply_to(http, request, written_completions(served, request, tasks), reply, len(tasks))


async def _models(http: web.Request) -> web.StreamResponse:
    return web.json_response({"object": "list", "data": [_card(http)]})


async def _model(http: web.Request) -> web.StreamResponse:
    _check_model(http.app[_SERVED], http.match_info["model"])
    return web.json_response(_card(http))


async def _health(http: web.Request) -> web.StreamResponse:
    served = http.app[_SERVED]
    if not await served.has_engine():
        raise Refusal("all engines have stopped: start the server anew", status=503, kind="server_error")
    loads = served.dispatcher.loads()
    return web.json_response(
        {
            "status": "ok",
            "running": sum(load.num_running for load in loads),
            "waiting": sum(load.num_waiting for load in loads),
            "kv_tokens_free": sum(load.kv_tokens_free for load in loads),
        }
    )


async def _read(http: web.Request, model: type[Body]) -> Body:
    try:
        request = model.model_validate_json(await http.read())
    except ValidationError as error:
        raise about(error) from error
    _check_model(http.app[_SERVED], request.model)
    return request


def _check_model(served: Served, name: str) -> None:
    if name != served.name:
        raise Refusal(
            f"there is no model {name[:200]!r} here; ask for {served.name!r}",
            status=404,
            param="model",
            code="model_not_found",
        )


def _card(http: web.Request) -> Json:
    served = http.app[_SERVED]
    card: Json = {"id": served.name, "object": "model", "created": http.app[_STARTED_S]}
    return card | {"owned_by": "rstar2", "max_model_len": served.context_tokens}


def _reply(
    kind: type[Reply],
    served: Served,
    tasks: Sequence[Task],
    *,
    wants_logprobs: bool,
    wants_token_ids: bool = False,
) -> Reply:
    """Choices of one prompt share it, and count it once."""
    prompts = {task.group_id: task.prompt for task in tasks}
    return kind(
        model=served.name,
        tokenizer=served.template.tokenizer,
        num_prompt_tokens=sum(map(len, prompts.values())),
        wants_logprobs=wants_logprobs,
        wants_token_ids=wants_token_ids,
    )


async def _reply_to(
    http: web.Request, request: TextRequest, deltas: Numbered, reply: Reply, num_choices: int
) -> web.StreamResponse:
    async with aclosing(deltas):
        if request.stream:
            return await _stream(http, request, deltas, reply, num_choices)
        parts: list[list[Delta]] = [[] for _ in range(num_choices)]
        async for number, delta in deltas:
            parts[number].append(delta)
        return web.json_response(reply.whole([total(part) for part in parts]))


async def _stream(
    http: web.Request, request: TextRequest, deltas: Numbered, reply: Reply, num_choices: int
) -> web.StreamResponse:
    """Pieces as they come. What goes wrong after the first is told in the stream: the status is out."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    try:
        for opening in reply.openings(num_choices):
            await _send(response, opening)
        sent: list[Delta] = []
        async for number, delta in deltas:
            sent.append(delta)
            await _send(response, reply.piece(number, delta))
        if request.stream_options.include_usage:
            await _send(response, reply.usage_piece(sent))
        await response.write(b"data: [DONE]\n\n")
    except ConnectionError:
        raise  # the client is gone
    except Exception as error:
        await _send(response, _refusal(http, error).body)
    return response


async def _send(response: web.StreamResponse, event: Json) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())


async def _answer(http: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or a refusal that says why there is none."""
    try:
        return await handler(http)
    except ConnectionError:
        raise  # the client is gone; there is nobody to answer
    except Exception as error:
        return _refused(_refusal(http, error))


def _refusal(http: web.Request, error: Exception) -> Refusal:
    """What the client is told. A bug of ours is logged, and the next request finds the server alive."""
    match error:
        case Refusal():
            return error
        case CapacityError():
            return Refusal(str(error), code=CONTEXT_TOO_LONG)
        case InfrastructureError():
            return Refusal(str(error), status=503, kind="server_error")
        case web.HTTPException():
            return Refusal(f"{http.method} {http.path}: {error.reason}", status=error.status)
        case _:
            _log.error("%s %s failed", http.method, http.path, exc_info=error)
            return Refusal("the server failed; its log says why", status=500, kind="server_error")


def _refused(refusal: Refusal) -> web.Response:
    return web.json_response(refusal.body, status=refusal.status)
