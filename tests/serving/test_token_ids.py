"""Token ids instead of text: what an engine on the other side needs to make rollouts of our answers."""

from aiohttp import ClientSession

from rstar2.engines.completion_server import CompletionServer
from rstar2.engines.remote_engine import RemoteEngine, RemoteLimits
from rstar2.types import FinishReason, GenerationRequest


def test_ids_come_where_they_are_asked_for(scene, tokenizer):
    asked = {"model": "tiny", "prompt": tokenizer.encode("What is 2 times 3?")}

    async def visit(session: ClientSession) -> None:
        for wanted in (False, True):
            async with session.post("/v1/completions", json=asked | {"return_token_ids": wanted}) as response:
                choice = (await response.json())["choices"][0]
                assert choice["text"] == "42 and no more."
                assert choice.get("token_ids") == (tokenizer.encode("42 and no more.") if wanted else None)

    scene("42 and no more.").visited(visit)


def test_another_of_our_engines_writes_through_it(scene, tokenizer):
    async def visit(session: ClientSession) -> None:
        server = CompletionServer(f"{session._base_url}v1")
        limits = RemoteLimits(kv_tokens=1000, max_running=4)
        engine = await RemoteEngine.connect(server, eos_token_id=tokenizer.eos_token_id, limits=limits)
        prompt = tuple(tokenizer.encode("What is 2 times 3?"))
        made = await engine.generate(
            GenerationRequest(
                rollout_id="r", group_id="g", token_ids=prompt, prompt_length=len(prompt), max_new_tokens=50,
                max_total_tokens=100, temperature=1.0, top_p=1.0, seed=3,
            )
        )  # fmt: skip
        assert made.token_ids == (*tokenizer.encode("42 and no more."), tokenizer.eos_token_id)
        assert made.finish is FinishReason.STOP
        await engine.close()

    scene("42 and no more.").visited(visit)
