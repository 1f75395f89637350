"""Generation engines as `[engine]` says, and what a policy should expect of their speed."""

import copy

from transformers import PreTrainedModel

from rstar2.assemble.devices import device_type
from rstar2.assemble.policy import DTYPES
from rstar2.config import EngineSection, RunConfig
from rstar2.engines.torch_engine import TorchEngine
from rstar2.errors import ConfigError
from rstar2.planning.policy import policy_shape
from rstar2.profiles import accelerator
from rstar2.rollout.pacing import FreePacer, StepPacer
from rstar2.rollout.placement.learned import EngineCosts
from rstar2.rollout.simulation.step_times import engine_costs, step_times


def new_engine(
    section: EngineSection, model: PreTrainedModel, eos_token_id: int, pacer: FreePacer | StepPacer
) -> TorchEngine:
    return TorchEngine(
        copy.deepcopy(model).to(device_type(section.device), DTYPES[section.dtype]),
        eos_token_id=eos_token_id,
        kv_tokens=section.kv_tokens,
        max_running=section.max_running,
        pace=pacer.pace if isinstance(pacer, StepPacer) else None,
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
