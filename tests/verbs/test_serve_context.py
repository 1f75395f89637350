"""The context that `rstar2 serve` states is what its engines take."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from transformers import Qwen3Config

from rstar2.assemble import Players
from rstar2.config import ModelSection, RunConfig
from rstar2.engines.remote_engine import RemoteEngine, RemoteLimits
from rstar2.engines.scripted import ScriptedEngine
from rstar2.engines.vllm_core import Core
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.engines.vllm_statistics import Statistics
from rstar2.errors import CapacityError
from rstar2.ports import Engine
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.types import GenerationRequest
from rstar2.verbs.serve import served_by

MAX_POSITIONS = 40_960


class Server:
    """Somebody else's, that takes 8,192 tokens at a time."""

    url, num_retries = "http://theirs/v1", 0

    async def models(self) -> list[dict[str, Any]]:
        return [{"id": "theirs", "max_model_len": 8192}]

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        choice = {"token_ids": [7], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "length"}
        return {"choices": [choice], "usage": {"completion_tokens": 1}}

    async def close(self) -> None: ...


async def ours(kv_tokens: int) -> Engine:
    return ScriptedEngine({}, kv_tokens=kv_tokens)


async def remote(kv_tokens: int) -> Engine:
    limits = RemoteLimits(kv_tokens=kv_tokens, max_running=64)
    return await RemoteEngine.connect(cast(Any, Server()), eos_token_id=2, limits=limits)


async def vllm(kv_tokens: int) -> Engine:
    """Its room is of whole blocks, and the longest sequence of as many tokens as it was started with."""
    statistics = Statistics()
    statistics.kv_tokens_total = -(-kv_tokens // 32) * 32
    llm = cast(Any, SimpleNamespace(errored=False))
    return VllmEngine(Core(llm, statistics, max_total_tokens=kv_tokens, can_sleep=False), eos_token_id=2)


def served_tokens(engine: Engine, model: Path) -> int:
    players = SimpleNamespace(
        tools=None, template=None, engines=[engine], dispatcher=Dispatcher([engine]),
        collector=SimpleNamespace(call_tool=None),
    )  # fmt: skip
    config = RunConfig(model=ModelSection(base=str(model)))
    return served_by(cast(Players, players), config, with_tools=False).context_tokens


@pytest.mark.parametrize(
    ("build", "kv_tokens", "expected"),
    [
        (ours, 10_000, 10_000),
        (ours, 200_000, MAX_POSITIONS),
        (remote, 200_000, 8192),
        (remote, 5000, 5000),
        (vllm, 10_000, 10_000),
    ],
)
def test_the_longest_context_is_the_longest_rollout_that_an_engine_takes(
    build: Any, kv_tokens: int, expected: int, tmp_path: Path
) -> None:
    async def scenario() -> None:
        engine = await build(kv_tokens)
        assert served_tokens(engine, tmp_path) == expected
        if expected < MAX_POSITIONS:
            with pytest.raises(CapacityError):
                await engine.generate(request_of(expected + 1))

    Qwen3Config(max_position_embeddings=MAX_POSITIONS).save_pretrained(tmp_path)
    asyncio.run(scenario())


def request_of(num_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        rollout_id="r", group_id="r", token_ids=(5, 6), prompt_length=2, max_new_tokens=num_tokens - 2,
        max_total_tokens=num_tokens, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip
