"""Weights go by broadcast from a rank's process to those of engines, on a Ray of this machine."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

pytest.importorskip("ray")

from rstar2.cluster.actors import Cluster
from rstar2.cluster.engine import ActorEngine
from rstar2.cluster.engine_actor import CountingEngine, EngineActor
from rstar2.cluster.fleet import Fleet
from rstar2.cluster.layout import Block, Bundle
from rstar2.cluster.learner import RayCrew
from rstar2.cluster.runtime import LOCAL, connected
from rstar2.engines.torch_engine import TorchEngine
from rstar2.models.loading import build_tiny
from rstar2.types import GenerationRequest
from rstar2.weights import BroadcastChannel, broadcasting

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    # Ray's own: a file of its log that nobody closes, and a warning of what will change.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]

BLOCKS = (
    Block(name="learner", strategy="PACK", bundles=(Bundle(cpus=1.0),)),
    Block(name="engines", strategy="PACK", bundles=(Bundle(cpus=1.0),) * 2),
)
REQUEST = GenerationRequest(
    rollout_id="r", group_id="g", token_ids=(3, 5, 7), prompt_length=3, max_new_tokens=20,
    max_total_tokens=300, temperature=1.0, top_p=1.0, seed=11,
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(LOCAL, BLOCKS) as cluster:
        yield cluster


def test_engines_take_what_a_rank_sends_and_a_replacement_takes_it_alone(cluster: Cluster) -> None:
    # Within the test, as Ray's processes cannot import this module.
    async def build(seed: int = 0) -> CountingEngine:
        model = build_tiny(
            vocab_size=53, hidden_size=24, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=12,
            mlp_size=31, max_positions=512, seed=seed,
        )  # fmt: skip
        return TorchEngine(model, eos_token_id=-1, kv_tokens=4096, max_running=8)

    class Rank:
        async def _weights(self, version: int) -> dict:
            engine = await build(seed=version)
            return dict(engine._model.named_parameters())

        def publish(self, channel: BroadcastChannel, version: int) -> None:
            channel.put(version, asyncio.run(self._weights(version)))

    async def expected(version: int) -> tuple[int, ...]:
        engine = await build(seed=version)
        written = await engine.generate(REQUEST)
        await engine.close()
        return written.token_ids

    async def scenario(channel: BroadcastChannel, crew: RayCrew) -> None:
        fleet = Fleet(2)
        engines = [
            ActorEngine(n, fleet, cluster.launcher(EngineActor, "engines", n), build) for n in range(2)
        ]
        await asyncio.gather(*(engine.start() for engine in engines))
        crew.call("publish", channel, 1)
        await asyncio.gather(*(engine.adopt(channel, 1) for engine in engines))
        for engine in engines:
            written = await engine.generate(REQUEST)
            assert (written.version, written.token_ids) == (1, await expected(1))

        children = psutil.Process().children(recursive=True)
        victim = next(child for child in children if child.name().startswith("ray::EngineActo"))
        victim.send_signal(signal.SIGKILL)
        while not any(engine.num_replacements for engine in engines):
            await asyncio.sleep(0.05)
        for engine in engines:
            assert (await engine.generate(REQUEST)).token_ids == await expected(1)

        crew.call("publish", channel, 2)
        await asyncio.gather(*(engine.adopt(channel, 2) for engine in engines))
        assert [(await engine.generate(REQUEST)).token_ids for engine in engines] == [await expected(2)] * 2
        await asyncio.gather(*(engine.close() for engine in engines))

    crew = RayCrew(cluster, lambda rank, num_ranks: Rank(), 1, device_type="cpu", hang_limit_s=600.0)
    with closing(crew), broadcasting(cluster.address) as channel:
        asyncio.run(scenario(channel, crew))
