"""The parts of a run on a Ray cluster: the same ports, each in a process that may die."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path

import torch

from rstar2.assemble.channel import channel_on_cluster
from rstar2.assemble.devices import device_type
from rstar2.assemble.elsewhere import as_seen_elsewhere
from rstar2.assemble.engines import start_engine
from rstar2.assemble.learner import build_rank, learning
from rstar2.assemble.players import Machines, Players, collecting
from rstar2.assemble.policy import Policy, load_policy
from rstar2.assemble.sandbox import new_sandbox
from rstar2.cluster.actors import Cluster
from rstar2.cluster.engine import ActorEngine
from rstar2.cluster.engine_actor import CountingEngine, EngineActor
from rstar2.cluster.fleet import Fleet
from rstar2.cluster.keeper import together
from rstar2.cluster.learner import RayCrew
from rstar2.cluster.sandbox import SandboxNode, sandbox_nodes
from rstar2.cluster.sandbox_actor import SandboxActor
from rstar2.config import RunConfig
from rstar2.learner.crew import CrewLearner
from rstar2.learner.learner import TorchLearner
from rstar2.ports import WeightChannel
from rstar2.rollout.pacing import FreePacer
from rstar2.sandbox.client import ClusterSandbox
from rstar2.sandbox.pool import WorkerPool


@asynccontextmanager
async def sides_on(
    cluster: Cluster, config: RunConfig, policy: Policy, folder: Path
) -> AsyncIterator[tuple[TorchLearner | CrewLearner, WeightChannel, Players]]:
    """Who learns, what new weights go through, and who plays; on leaving, their processes are ended."""
    config = as_seen_elsewhere(config)
    learns_here = not config.learner.num_ranks
    with learning(config, policy.model) if learns_here else _learning_on(cluster, config) as learner:
        async with (
            _machines_on(cluster, config) as (machines, fleet),
            collecting(config, policy.tokenizer, machines) as players,
        ):
            fleet.on_return = players.dispatcher.engine_returned
            with channel_on_cluster(config, folder, cluster.address) as channel:
                yield learner, channel, players


@contextmanager
def _learning_on(cluster: Cluster, config: RunConfig) -> Iterator[CrewLearner]:
    crew = RayCrew(
        cluster,
        partial(build_rank, config),
        config.learner.num_ranks,
        device_type=device_type(config.learner.device),
        hang_limit_s=config.learner.hang_limit_s,
    )
    with closing(crew):
        yield CrewLearner(crew)


@asynccontextmanager
async def _machines_on(cluster: Cluster, config: RunConfig) -> AsyncIterator[tuple[Machines, Fleet]]:
    num_engines, num_nodes = config.engine.num_engines, config.cluster.sandbox_nodes
    fleet = Fleet(num_engines)
    engines = [
        ActorEngine(n, fleet, cluster.launcher(EngineActor, "engines", n), partial(build_engine, config))
        for n in range(num_engines)
    ]
    nodes: list[SandboxNode] = []
    async with AsyncExitStack() as stack:
        sandbox: AbstractAsyncContextManager[WorkerPool | ClusterSandbox]
        if num_nodes:
            launches = [cluster.launcher(SandboxActor, "sandbox", n) for n in range(num_nodes)]
            shared, nodes = await stack.enter_async_context(sandbox_nodes(launches, config.sandbox))
            sandbox = nullcontext(shared)
        else:
            sandbox = new_sandbox(config.sandbox)
        for engine in engines:
            stack.push_async_callback(engine.close)
        await together(engine.start() for engine in engines)
        counters = partial(_replacements, engines, nodes)
        yield Machines(engines=engines, pacer=FreePacer(), sandbox=sandbox, counters=counters), fleet


def _replacements(engines: Sequence[ActorEngine], nodes: Sequence[SandboxNode]) -> dict[str, int]:
    """For the metrics."""
    return {
        "engine_replacements": sum(engine.num_replacements for engine in engines),
        "sandbox_replacements": sum(node.num_replacements for node in nodes),
    }


async def build_engine(config: RunConfig) -> CountingEngine:
    """Where it is to live."""
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    return await start_engine(config, load_policy(config), FreePacer())
