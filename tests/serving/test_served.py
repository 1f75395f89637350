"""Whether there is an engine left, asked of a real one."""

import asyncio
from dataclasses import replace

import pytest

from rstar2.engines.torch_engine import TorchEngine
from rstar2.errors import EngineError
from rstar2.models.loading import build_tiny
from rstar2.types import GenerationRequest


def test_an_engine_whose_forward_failed_is_none_that_is_left(scene):
    model = build_tiny(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=8, max_positions=64, seed=0,
    )  # fmt: skip
    request = GenerationRequest(
        rollout_id="r", group_id="g", token_ids=(3,), prompt_length=1, max_new_tokens=4, max_total_tokens=5,
        temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip

    async def run() -> None:
        engine = TorchEngine(model, eos_token_id=0, kv_tokens=100, max_running=2)
        alone = replace(scene().served, engines=[engine])
        with_another = replace(scene().served, engines=[engine, scene().engine])
        assert await alone.has_engine()
        with model.register_forward_pre_hook(_run_out_of_memory), pytest.raises(EngineError):
            await engine.generate(request)
        assert not await alone.has_engine()
        assert await with_another.has_engine()
        await engine.close()

    asyncio.run(run())


def _run_out_of_memory(*_: object) -> None:
    raise MemoryError
