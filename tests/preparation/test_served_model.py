"""The client against a real HTTP server that is slow, refuses, and breaks off."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rstar2.config import ServedModelSection
from rstar2.errors import EngineError, InputError
from rstar2.preparation.served_model import ServedModel

ASKED = [{"role": "user", "content": "hello"}]
Answer = Callable[[dict[str, Any], web.Request], Any]


def completion(*texts: str | None) -> web.Response:
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": t}} for t in texts]})


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[str]:
    """One answer after the other, the last one for ever; gives the URL."""
    waiting = list(answers)

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        given = answer(await request.json(), request)
        return await given if asyncio.iscoroutine(given) else given

    app = web.Application()
    app.router.add_post("/v1/chat/completions", reply)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/"
    finally:
        await runner.cleanup()


def ask(*answers: Answer, count: int = 2, token: str = "", **settings: Any) -> tuple[Any, list[float]]:
    """(what came back, the pauses)."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def asking() -> Any:
        async with serving(*answers) as url:
            section = ServedModelSection(url=url, model="m", **settings)
            async with ServedModel(section, token=token, sleep=pause) as model:
                return await model.replies(ASKED, count=count)

    return asyncio.run(asking()), pauses


def failing(status: int) -> Answer:
    return lambda body, request: web.json_response({"error": "no"}, status=status)


def good(body: dict[str, Any], request: web.Request) -> web.Response:
    return completion("a", None)


def test_a_reply_that_the_limit_of_tokens_cut_says_nothing():
    choices = [
        {"finish_reason": reason, "message": {"content": "Let me"}} for reason in ("length", "stop", None)
    ]
    assert ask(lambda body, request: web.json_response({"choices": choices})) == (
        ["", "Let me", "Let me"],
        [],
    )


def test_what_is_asked_for_is_what_openai_takes():
    def check(body: dict[str, Any], request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return completion(str(body))

    (said,), _ = ask(check, count=3, token="secret", temperature=0.5, max_tokens=9)
    expected = {
        "model": "m", "messages": ASKED, "n": 3, "temperature": 0.5, "top_p": 0.95, "max_tokens": 9,
    }  # fmt: skip
    assert said == str(expected)


def test_a_server_that_fails_is_asked_again_with_longer_pauses():
    async def breaks_off(body: dict[str, Any], request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return completion()

    def rubbish(body: dict[str, Any], request: web.Request) -> web.Response:
        return web.json_response({"choices": []})

    replies, pauses = ask(failing(503), failing(429), breaks_off, rubbish, failing(500), failing(502), good)
    assert replies == ["a", ""]
    assert pauses == [1, 2, 4, 8, 16, 30]


def test_a_reply_that_takes_too_long_is_asked_for_again():
    async def slow(body: dict[str, Any], request: web.Request) -> web.Response:
        await asyncio.sleep(0.8)
        return completion("late")

    replies, pauses = ask(slow, good, reply_limit_s=0.5)
    assert replies == ["a", ""]
    assert pauses[:1] == [1]


def test_a_server_that_stays_away_is_an_error_of_the_world():
    with pytest.raises(EngineError, match=r"does not answer.*the same command then goes on"):
        ask(failing(503), patience_s=0.5)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_has_no_replies(status, caplog):
    assert ask(failing(status), failing(503), good) == (None, [1])  # a greeting is answered
    assert f"refuses a request, perhaps more ({status}: " in caplog.text


@pytest.mark.parametrize("status", [400, 413, 422])
def test_settings_that_are_refused_are_wrong_input(status):
    with pytest.raises(
        InputError, match=f"refuses every request \\({status}: .*no.*mend max_tokens, token_l"
    ):
        ask(failing(status))


def test_the_settings_are_tried_once_however_many_requests_are_refused():
    num_greetings = 0

    def hates_hate(body: dict[str, Any], request: web.Request) -> web.Response:
        nonlocal num_greetings
        num_greetings += body["messages"][0]["content"] == "Say hello."
        return failing(400)(body, request) if "hate" in str(body) else good(body, request)

    async def asking() -> list[Any]:
        async with serving(hates_hate) as url, ServedModel(ServedModelSection(url=url, model="m")) as model:
            hateful = [{"role": "user", "content": "hate"}]
            return await asyncio.gather(*(model.replies(hateful, count=1) for _ in range(9)))

    assert asyncio.run(asking()) == [None] * 9
    assert num_greetings == 1


def test_the_limit_of_tokens_goes_by_the_name_that_the_server_knows():
    (said,), _ = ask(lambda body, _: completion(str(body)), token_limit="max_completion_tokens", max_tokens=9)
    assert "'max_completion_tokens': 9" in said
    assert "'max_tokens'" not in said


def test_an_answer_that_is_no_json_is_asked_for_again():
    assert ask(lambda body, request: web.Response(text="<html>"), good) == (["a", ""], [1])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_url_model_or_token_is_wrong_input(status):
    with pytest.raises(InputError, match=f"refuses \\({status}.*mend url, model or token_file"):
        ask(failing(status))
