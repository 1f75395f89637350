"""Names in the config are names of parts, and a remote server is not asked for more than it was to hold."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast, get_args

import pytest

from rstar2.assemble import engines
from rstar2.assemble.players import policies
from rstar2.assemble.policy import Policy
from rstar2.config import parse_config
from rstar2.config.playing import RolloutSection
from rstar2.engines.completion_server import CompletionServer
from rstar2.engines.remote_engine import RemoteEngine, RemoteLimits
from rstar2.errors import ConfigError
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.pacing import FreePacer
from rstar2.rollout.placement.catalog import DEFAULT_POLICY, POLICY_NAMES
from rstar2.rollout.placement.lengths import Lengths
from rstar2.types import GenerationRequest


def test_every_policy_can_be_chosen_by_its_name_and_ours_is_the_default() -> None:
    names = get_args(RolloutSection.model_fields["policy"].annotation)
    assert set(names) == set(POLICY_NAMES)
    assert RolloutSection().policy == DEFAULT_POLICY


def test_several_vllm_engines_of_one_process_are_refused_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "device_type", lambda _: "cuda")
    config = parse_config({"engine": {"kind": "vllm", "num_engines": 2}, "model": {"tiny": {"head_dim": 64}}})
    with pytest.raises(ConfigError, match="2 vLLM engines in one process would share a GPU: set"):
        asyncio.run(engines.start_engines(config, cast(Policy, None), FreePacer()))


class ManyRounds(CompletionServer):
    """Answers of 10 to 29 tokens, each a round of the event loop; counts what its turns may come to."""

    most_tokens = _tokens = 0

    def __init__(self) -> None:
        self.url, self.num_retries = "http://theirs/v1", 0

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        longest, num_tokens = len(body["prompt"]) + body["max_tokens"], 10 + body["seed"] % 20
        self._tokens += longest
        self.most_tokens = max(self.most_tokens, self._tokens)
        for _ in range(num_tokens):
            await asyncio.sleep(0)
        self._tokens -= longest
        choice = {
            "token_ids": [5] * num_tokens,
            "logprobs": {"token_logprobs": [-0.1] * num_tokens},
            "finish_reason": "stop",
        }
        return {"choices": [choice], "usage": {"completion_tokens": num_tokens}}

    async def close(self) -> None: ...


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_a_remote_server_never_holds_more_than_its_room_also_once_lengths_are_known(policy: str) -> None:
    async def scenario() -> None:
        server, limits = ManyRounds(), RemoteLimits(kv_tokens=1000, max_running=64)
        engine = RemoteEngine(server, model="m", max_total_tokens=1000, eos_token_id=1, limits=limits)
        config = parse_config(
            {"engine": {"kind": "remote", "url": "http://theirs/v1"}, "rollout": {"policy": policy}}
        )
        dispatcher = Dispatcher([engine], new_policy=policies(config, Lengths()))

        async def play(wave: int, number: int) -> None:
            request = GenerationRequest(
                rollout_id=f"{wave}/{number}", group_id=f"{wave}/{number // 4}", token_ids=(1,) * 4,
                prompt_length=4, max_new_tokens=196, max_total_tokens=200, temperature=1.0, top_p=1.0,
                seed=7 * number,
            )  # fmt: skip
            await dispatcher.generate(request)
            dispatcher.release(request.rollout_id, is_complete=True)

        for wave in range(2):
            await asyncio.gather(*(play(wave, number) for number in range(24)))
            assert server.most_tokens <= limits.kv_tokens, f"in wave {wave}"
            assert dispatcher.num_stops == 0, f"in wave {wave}"

    asyncio.run(scenario())
