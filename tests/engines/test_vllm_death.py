"""What of a dying vLLM a stand-in can show; the real one dies in test_vllm_engine.py."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from rstar2.engines import vllm_engine
from rstar2.engines.counters import EngineStats
from rstar2.engines.vllm_core import Core
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.errors import EngineError
from rstar2.weights import MemoryChannel


class MuteLlm:
    """Answers no call once its core is dead, as vLLM's client does."""

    errored = False

    async def pause_generation(self, **_: Any) -> None:
        pass

    async def collective_rpc(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()


def test_an_adoption_ends_with_the_core_that_should_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        llm = MuteLlm()
        core = cast(Core, SimpleNamespace(llm=llm, statistics=SimpleNamespace(totals=EngineStats())))
        engine = VllmEngine(core, eos_token_id=0)
        channel = MemoryChannel()
        channel.put(1, {"weight": torch.zeros(2)})
        adoption = asyncio.create_task(engine.adopt(channel, 1))
        await asyncio.sleep(0.1)
        assert not adoption.done(), "a core may take its time"
        llm.errored = True
        with pytest.raises(EngineError, match=r"its core has died\); start a new engine"):
            await asyncio.wait_for(adoption, 5)

    monkeypatch.setattr(vllm_engine, "_LOOK_S", 0.01)
    asyncio.run(scenario())
