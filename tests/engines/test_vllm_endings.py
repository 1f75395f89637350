"""How turns of VllmEngine end, against a stand-in for vLLM: it needs none."""

import asyncio
import sys
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rstar2.engines.vllm_core import Core
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.engines.vllm_statistics import Statistics
from rstar2.errors import EngineError
from rstar2.types import FinishReason, Generation, GenerationRequest

REQUEST = GenerationRequest(
    rollout_id="r", group_id="r", token_ids=(5, 6), prompt_length=2, max_new_tokens=3, max_total_tokens=9,
    temperature=1.0, top_p=1.0, seed=0,
)  # fmt: skip


class Llm:
    """What the engine sees of vLLM: one turn of two tokens, whatever is asked."""

    errored = False

    def __init__(self, finish_reason: str) -> None:
        self._finish_reason = finish_reason

    async def generate(self, prompt: object, sampling: object, turn: str) -> AsyncIterator[Any]:
        logprobs = SimpleNamespace(logprobs=[-0.5, -1.5])
        written = SimpleNamespace(token_ids=[7, 8], logprobs=logprobs, finish_reason=self._finish_reason)
        yield SimpleNamespace(outputs=[written])


@pytest.fixture(autouse=True)
def _vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, contents in {
        "vllm": {"SamplingParams": lambda **values: values},
        "vllm.inputs": {"tokens_input": lambda token_ids, cache_salt: token_ids},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY=2)},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)


async def written(finish_reason: str) -> Generation:
    core = Core(Llm(finish_reason), Statistics(), max_total_tokens=9, can_sleep=False)  # type: ignore[arg-type]
    return await VllmEngine(core, eos_token_id=1).generate(REQUEST)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", FinishReason.STOP), ("length", FinishReason.LENGTH), ("abort", FinishReason.RELEASED)],
)
def test_a_turn_ends_as_vllm_says(reason: str, finish: FinishReason) -> None:
    made = asyncio.run(written(reason))
    assert (made.token_ids, made.logprobs, made.finish) == ((7, 8), (-0.5, -1.5), finish)


@pytest.mark.parametrize("reason", ["error", "repetition"])
def test_a_turn_that_vllm_gave_up_is_no_turn(reason: str) -> None:
    with pytest.raises(EngineError, match=rf"broke a turn off \({reason}\)"):
        asyncio.run(written(reason))
