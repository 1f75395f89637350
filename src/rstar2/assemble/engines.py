"""Generation engines as `[engine]` says, and what a policy should expect of their speed."""

import asyncio
import copy
import tempfile

from rstar2.assemble.devices import device_type
from rstar2.assemble.policy import DTYPES, Policy
from rstar2.bearer_token import read_token
from rstar2.cluster.engine_actor import CountingEngine
from rstar2.config import EngineSection, RunConfig
from rstar2.engines.completion_server import CompletionServer
from rstar2.engines.remote_engine import RemoteEngine, RemoteLimits
from rstar2.engines.torch_engine import TorchEngine
from rstar2.engines.vllm_core import VllmOptions
from rstar2.engines.vllm_engine import VllmEngine
from rstar2.errors import ConfigError
from rstar2.planning.policy import policy_shape
from rstar2.profiles import accelerator
from rstar2.rollout.pacing import FreePacer, StepPacer
from rstar2.rollout.placement.learned import EngineCosts
from rstar2.rollout.simulation.step_times import engine_costs, step_times


async def start_engines(
    config: RunConfig, policy: Policy, pacer: FreePacer | StepPacer
) -> list[CountingEngine]:
    """All of a run that has them in this process; if one cannot start, none is left.

    ConfigError for several vLLM engines on a GPU: each takes nearly all of its memory.
    """
    section = config.engine
    if section.kind == "vllm" and section.num_engines > 1 and device_type(section.device) == "cuda":
        raise ConfigError(
            f"{section.num_engines} vLLM engines in one process would share a GPU: set engine.num_engines = 1"
            " and cluster.accelerators_per_engine to the GPUs that it spans, or train with --cluster"
        )
    starts = (start_engine(config, policy, pacer) for _ in range(section.num_engines))
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    engines = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            await asyncio.gather(*(engine.close() for engine in engines))
            raise outcome
    return engines


async def start_engine(config: RunConfig, policy: Policy, pacer: FreePacer | StepPacer) -> CountingEngine:
    """One, of the kind that `[engine]` says."""
    match config.engine.kind:
        case "torch":
            return _torch_engine(config.engine, policy, pacer)
        case "vllm":
            return await _vllm_engine(config, policy)
        case "remote":
            return await _remote_engine(config.engine, policy)


def _torch_engine(section: EngineSection, policy: Policy, pacer: FreePacer | StepPacer) -> TorchEngine:
    engine = TorchEngine(
        copy.deepcopy(policy.model).to(device_type(section.device), DTYPES[section.dtype]),
        eos_token_id=policy.tokenizer.eos_token_id,
        kv_tokens=section.kv_tokens,
        max_running=section.max_running,
        pace=pacer.pace if isinstance(pacer, StepPacer) else None,
    )
    if isinstance(pacer, StepPacer):
        pacer.on_call = (*pacer.on_call, engine.wake)
    return engine


async def _vllm_engine(config: RunConfig, policy: Policy) -> VllmEngine:
    section = config.engine
    is_on_gpu = device_type(section.device) == "cuda"
    with tempfile.TemporaryDirectory(prefix="rstar2-model-") as folder:
        if policy.checkpoint is None:
            policy.model.save_pretrained(folder)
        options = VllmOptions(
            model=policy.checkpoint or folder,
            kv_tokens=section.kv_tokens,
            max_running=section.max_running,
            dtype=section.dtype,
            block_tokens=section.block_tokens,
            num_devices=config.cluster.accelerators_per_engine if is_on_gpu else 1,
            eager=section.eager or not is_on_gpu,
            can_sleep=section.sleeps_while_learning,
        )
        return await VllmEngine.start(options, eos_token_id=policy.tokenizer.eos_token_id)


async def _remote_engine(section: EngineSection, policy: Policy) -> RemoteEngine:
    file = section.token_file
    token = read_token(file, setting="engine.token_file") if file else ""
    return await RemoteEngine.connect(
        CompletionServer(section.url, token=token),
        model=section.model,
        eos_token_id=policy.tokenizer.eos_token_id,
        limits=RemoteLimits(kv_tokens=section.kv_tokens, max_running=section.max_running),
    )


def expected_costs(config: RunConfig) -> EngineCosts:
    """In ratios, which the expected accelerator decides; a model of unknown shape gets the usual ones."""
    try:
        shape = policy_shape(config.model)
    except ConfigError:
        return EngineCosts()
    cluster = config.cluster
    times = step_times(shape, accelerator(cluster.accelerator), num_devices=cluster.accelerators_per_engine)
    return engine_costs(times)
