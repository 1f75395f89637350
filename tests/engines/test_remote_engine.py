"""RemoteEngine against servers on loopback that answer as vLLM does, or as others do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rstar2.engines.completion_server import CompletionServer
from rstar2.engines.remote_engine import RemoteEngine, RemoteLimits
from rstar2.errors import CapacityError, EngineError
from rstar2.types import FinishReason, GenerationRequest
from rstar2.weights import MemoryChannel

EOS = 2
LIMITS = RemoteLimits(kv_tokens=500, max_running=3)
Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse] | web.StreamResponse]


def choice(token_ids: list[int], finish: str | None, *, num_drawn: int | None = None) -> web.Response:
    logprobs = {"tokens": ["x"] * len(token_ids), "token_logprobs": [-0.5 * t for t in token_ids]}
    written = {"text": "x", "token_ids": token_ids, "logprobs": logprobs, "finish_reason": finish}
    usage = {"completion_tokens": len(token_ids) if num_drawn is None else num_drawn}
    return web.json_response({"choices": [written], "usage": usage})


def as_vllm(body: dict[str, Any]) -> web.StreamResponse:
    """The prompt backwards, and the stop token where there is room for it."""
    token_ids = [*reversed(body["prompt"]), EOS][: body["max_tokens"]]
    return choice(token_ids, "stop" if token_ids[-1] == EOS and len(token_ids) > 1 else "length")


@asynccontextmanager
async def serving(answer: Answer, models: list[dict[str, Any]] | None = None) -> AsyncIterator["Served"]:
    served = Served(answer, models or [{"id": "theirs", "max_model_len": 400}])
    app = web.Application()
    app.add_routes([web.get("/v1/models", served.list_models), web.post("/v1/completions", served.complete)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield served
    finally:
        await runner.cleanup()


class Served:
    def __init__(self, answer: Answer, models: list[dict[str, Any]]) -> None:
        self.answer, self.models = answer, models
        self.bodies: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    async def list_models(self, http: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.models})

    async def complete(self, http: web.Request) -> web.StreamResponse:
        self.bodies.append(await http.json())
        self.tokens.add(http.headers.get("Authorization"))
        answer = self.answer(self.bodies[-1])
        return answer if isinstance(answer, web.StreamResponse) else await answer


async def connected(served: Served, *, model: str = "", limits: RemoteLimits = LIMITS) -> RemoteEngine:
    server = CompletionServer(served.url, token="secret", pauses_s=(0.01, 0.01))
    return await RemoteEngine.connect(server, model=model, eos_token_id=EOS, limits=limits)


def request(rollout_id: str, token_ids: tuple[int, ...], **changes: object) -> GenerationRequest:
    values = {
        "rollout_id": rollout_id, "group_id": rollout_id, "token_ids": token_ids,
        "prompt_length": len(token_ids), "max_new_tokens": 10, "max_total_tokens": 100,
        "temperature": 0.7, "top_p": 0.9, "seed": 5,
    } | changes  # fmt: skip
    return GenerationRequest(**values)  # type: ignore[arg-type]


def test_token_ids_and_logprobs_go_both_ways() -> None:
    async def scenario() -> None:
        async with serving(as_vllm) as served:
            engine = await connected(served)
            made = await engine.generate(request("r", (5, 6, 7)))
            assert made.token_ids == (7, 6, 5, EOS)
            assert made.logprobs == (-3.5, -3.0, -2.5, -1.0)
            assert made.finish is FinishReason.STOP
            cut = await engine.generate(request("r", (5, 6, 7), max_new_tokens=2))
            assert (cut.token_ids, cut.finish) == ((7, 6), FinishReason.LENGTH)
            assert engine.stats.decode_tokens == 6
            assert served.tokens == {"Bearer secret"}
            asked = served.bodies[1]
            assert (asked["model"], asked["prompt"]) == ("theirs", [5, 6, 7])
            assert (asked["temperature"], asked["top_p"], asked["stop_token_ids"]) == (0.7, 0.9, [EOS])
            await engine.close()

    asyncio.run(scenario())


def test_a_stop_token_that_the_server_keeps_to_itself_is_there() -> None:
    async def scenario() -> None:
        async with serving(lambda body: choice([7], "stop", num_drawn=2)) as served:
            engine = await connected(served)
            made = await engine.generate(request("r", (5, 6)))
            assert (made.token_ids, made.finish) == ((7, EOS), FinishReason.STOP)
            await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("reason", ["abort", "error", None])
def test_a_turn_that_the_server_gave_up_is_no_turn(reason: str | None) -> None:
    async def scenario() -> None:
        async with serving(
            lambda body: choice([7], "length" if len(body["prompt"]) == 1 else reason)
        ) as served:
            engine = await connected(served)
            with pytest.raises(EngineError, match=rf"broke a turn off \({reason}\)"):
                await engine.generate(request("r", (5, 6)))
            assert engine.stats.decode_tokens == 0
            await engine.close()

    asyncio.run(scenario())


def test_a_server_that_gives_text_alone_is_refused_with_the_remedy() -> None:
    def as_others(body: dict[str, Any]) -> web.StreamResponse:
        written = {"text": "x", "logprobs": None, "finish_reason": "length"}
        return web.json_response({"choices": [written], "usage": {"completion_tokens": 1}})

    async def scenario() -> None:
        async with serving(as_others) as served:
            with pytest.raises(EngineError, match=r"which tokens it drew.*rstar2 serve"):
                await connected(served)

    asyncio.run(scenario())


def test_the_model_is_the_named_or_the_only_one() -> None:
    async def scenario() -> None:
        async with serving(as_vllm, [{"id": "small"}, {"id": "large"}]) as served:
            await (await connected(served, model="large")).close()
            assert served.bodies[-1]["model"] == "large"
            for name in ("", "huge"):
                with pytest.raises(EngineError, match="has the models small, large"):
                    await connected(served, model=name)

    asyncio.run(scenario())


def test_a_busy_server_is_asked_again_and_a_refusal_is_not() -> None:
    async def scenario() -> None:
        troubles = [529, 429]  # 529: a proxy's, of no server

        def answer(body: dict[str, Any]) -> web.StreamResponse:
            if len(served.bodies) > 1 and troubles:
                return web.Response(status=troubles.pop(), text="later")
            return as_vllm(body)

        async with serving(answer) as served:
            engine = await connected(served)
            assert (await engine.generate(request("r", (5,)))).token_ids == (5, EOS)
            assert engine.stats.engine_retries == 2
            troubles += [503, 502, 500]
            with pytest.raises(EngineError, match="did not answer 3 times"):
                await engine.generate(request("r", (5,)))
            troubles += [400]
            with pytest.raises(EngineError, match="refused: 400: later"):
                await engine.generate(request("r", (5,)))
            assert engine.stats.engine_retries == 4
            await engine.close()

    asyncio.run(scenario())


def test_nobody_there_is_an_engine_error() -> None:
    async def scenario() -> None:
        async with serving(as_vllm) as served:
            engine = await connected(served)
        with pytest.raises(EngineError, match="did not answer"):
            await engine.generate(request("r", (5,)))
        with pytest.raises(EngineError, match="did not answer"):
            await connected(served)
        await engine.close()

    asyncio.run(scenario())


def test_only_so_many_turns_are_with_the_server_and_the_load_tells() -> None:
    async def scenario() -> None:
        free, most_at_once, at_once = asyncio.Event(), 0, 0

        async def slowly(body: dict[str, Any]) -> web.StreamResponse:
            nonlocal at_once, most_at_once
            at_once += 1
            most_at_once = max(most_at_once, at_once)
            if len(served.bodies) > 1:
                await free.wait()
            at_once -= 1
            return as_vllm(body)

        async with serving(slowly) as served:
            engine = await connected(served)
            turns = [asyncio.create_task(engine.generate(request(f"r{i}", (5, 6)))) for i in range(8)]
            while at_once < 3:
                await asyncio.sleep(0.005)
            load = engine.load()
            assert (load.num_running, load.num_waiting) == (3, 5)
            assert (load.kv_tokens_total, load.kv_tokens_used) == (500, 3 * 12)
            free.set()
            await asyncio.gather(*turns)
            assert most_at_once == engine.stats.peak_running == 3
            assert engine.load().num_running + engine.load().num_waiting == 0
            await engine.close()

    asyncio.run(scenario())


def test_a_turn_can_be_released_cancelled_or_lost_with_the_engine() -> None:
    async def scenario() -> None:
        async def never(body: dict[str, Any]) -> web.StreamResponse:
            if len(served.bodies) > 1:
                await asyncio.Event().wait()
            return as_vllm(body)

        async with serving(never) as served:
            engine = await connected(served)
            turns = {name: asyncio.create_task(engine.generate(request(name, (5,)))) for name in "abc"}
            while len(served.bodies) < 4:
                await asyncio.sleep(0.005)
            with pytest.raises(EngineError, match="already has a turn"):
                await engine.generate(request("a", (5,)))
            engine.release("a")
            engine.release("nobody")
            released = await turns["a"]
            assert (released.token_ids, released.finish) == ((), FinishReason.RELEASED)
            turns["b"].cancel()
            with pytest.raises(asyncio.CancelledError):
                await turns["b"]
            assert engine.load().num_running + engine.load().num_waiting == 1
            await engine.close()
            with pytest.raises(EngineError, match="closed before this turn ended"):
                await turns["c"]
            with pytest.raises(EngineError, match="connect a new one"):
                await engine.generate(request("d", (5,)))

    asyncio.run(scenario())


def test_what_the_server_does_not_allow_is_refused_before_it_is_asked() -> None:
    async def scenario() -> None:
        async with serving(as_vllm) as served:
            engine = await connected(served)
            with pytest.raises(CapacityError, match="exceeds the 400"):
                await engine.generate(request("r", (5,), max_total_tokens=401))
            with pytest.raises(EngineError, match="not ours to swap"):
                await engine.adopt(MemoryChannel(), 1)
            await engine.close()

    asyncio.run(scenario())
