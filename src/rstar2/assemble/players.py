"""What turns problems into graded groups: engines, sandbox and grader behind a collector."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial

import torch

from rstar2.assemble.engines import expected_costs, start_engines
from rstar2.assemble.policy import Policy, load_policy
from rstar2.assemble.sandbox import new_sandbox, new_sessions, program_limits
from rstar2.cluster.engine_actor import CountingEngine
from rstar2.config import RunConfig
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.protocol.template import Template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer
from rstar2.rewards.outcome import OutcomeGrader
from rstar2.rollout.collector import Collector
from rstar2.rollout.dispatcher import Dispatcher, NewPolicy
from rstar2.rollout.pacing import FreePacer, StepPacer
from rstar2.rollout.placement.catalog import make_policy
from rstar2.rollout.placement.lengths import Lengths
from rstar2.sandbox.client import ClusterSandbox
from rstar2.sandbox.pool import WorkerPool
from rstar2.tools import Registry
from rstar2.tools.toolbox import toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What rollouts are played on, wherever that is."""

    engines: Sequence[CountingEngine]
    pacer: FreePacer | StepPacer
    sandbox: AbstractAsyncContextManager[WorkerPool | ClusterSandbox]
    counters: Callable[[], Mapping[str, int]] = dict
    """Of what befell them, for the metrics."""


@dataclass(slots=True)
class Players:
    """What turns problems into graded groups."""

    template: Template
    tools: Registry
    collector: Collector
    dispatcher: Dispatcher
    lengths: Lengths
    engines: Sequence[CountingEngine]
    pacer: FreePacer | StepPacer
    sandbox: WorkerPool | ClusterSandbox
    counters: Callable[[], Mapping[str, int]]
    _last: dict[str, float] = field(default_factory=dict)

    async def rest(self) -> None:
        """Engines that can sleep do so until they adopt new weights."""
        sleepers = [engine for engine in self.engines if isinstance(engine, VllmEngine)]
        await asyncio.gather(*(engine.sleep(keep_weights=False) for engine in sleepers))

    def stats_since_last_call(self) -> dict[str, float]:
        """Counters of all engines together, as growth since the last call; peaks as they are."""
        totals: dict[str, float] = {
            "tool_retries": self.collector.num_retries,
            "engine_moves": self.dispatcher.num_moves,
            "engine_stops": self.dispatcher.num_stops,
            "waits_for_tools": self.pacer.num_waits,
            **self.counters(),
        }
        if isinstance(self.sandbox, ClusterSandbox):
            totals["sandbox_retries"] = self.sandbox.stats().num_retries
            totals["session_moves"] = self.sandbox.sessions.num_moves
        for engine in self.engines:
            for name, value in asdict(engine.stats).items():
                totals[name] = totals.get(name, 0) + value
        last, self._last = self._last, totals
        return {n: v if n.startswith("peak_") else v - last.get(n, 0) for n, v in totals.items()}


@asynccontextmanager
async def playing(config: RunConfig) -> AsyncIterator[Players]:
    """The checkpoint `model.base` behind engines, sandbox and grader: to be measured or talked to."""
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    policy = load_policy(config)
    machines = await machines_here(config, policy)
    async with collecting(config, policy.tokenizer, machines) as players:
        yield players


async def machines_here(config: RunConfig, policy: Policy) -> Machines:
    """The engines of this process, and the sandbox that `[sandbox]` says."""
    # Only our own engine counts its steps for others to wait for.
    is_paced = config.run.reproducible and config.engine.kind == "torch"
    pacer = StepPacer(config.run.tool_delay_steps) if is_paced else FreePacer()
    sandbox = new_sandbox(config.sandbox)
    return Machines(engines=await start_engines(config, policy, pacer), pacer=pacer, sandbox=sandbox)


def policies(config: RunConfig, lengths: Lengths) -> NewPolicy:
    """Makes what places rollouts, as `[rollout] policy` says.

    On a remote server always the paper's: all others bet on turns being short, and a server that lost the bet
    would hold more than `engine.kv_tokens`, or give back nothing of the turns that are stopped.
    """
    name = "worst_case_reservation" if config.engine.kind == "remote" else config.rollout.policy
    return partial(make_policy, name, costs=expected_costs(config), lengths=lengths)


@asynccontextmanager
async def collecting(
    config: RunConfig, tokenizer: HuggingFaceTokenizer, machines: Machines
) -> AsyncIterator[Players]:
    """Engines, sandbox and grader behind a collector; on leaving, the machines are closed."""
    engines, pacer = machines.engines, machines.pacer
    lengths = Lengths()
    dispatcher = Dispatcher(engines, new_policy=policies(config, lengths), max_moves=len(engines))
    try:
        async with (
            machines.sandbox as sandbox,
            new_sessions(sandbox, config.tools) as sessions,
            toolbox(
                config.tools, sandbox=sandbox, sessions=sessions, limits=program_limits(config.sandbox)
            ) as tools,
        ):
            grader = OutcomeGrader(sandbox, time_limit_s=config.sandbox.grading_time_limit_s)
            await grader.check_canaries()
            protocol = config.protocol
            template = Template(tokenizer, system=protocol.system, user=protocol.user, tools=tools.schemas)
            collector = Collector(
                template=template,
                dispatcher=dispatcher,
                tools=tools,
                grader=grader,
                pacer=pacer,
                run_seed=config.run.seed,
            )
            yield Players(
                template=template,
                tools=tools,
                collector=collector,
                dispatcher=dispatcher,
                lengths=lengths,
                engines=machines.engines,
                pacer=pacer,
                sandbox=sandbox,
                counters=machines.counters,
            )
    finally:
        await dispatcher.close()
