"""Engines and learner on the accelerators, and what each accelerator then holds."""

from dataclasses import dataclass
from math import ceil

from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.planning.memory import Budget, EngineShape, LearnerShape, adapter_parameters
from rstar2.profiles import Accelerator, ModelShape, accelerator

_LEARNING_SHARE = 0.95
"""Of an accelerator's memory while it learns; the rest is the framework's and lost to fragmentation."""
_PADDED_POSITIONS = 3
"""Of kind "torch" per token of `engine.kv_tokens`: in rows, prompts and kept prefixes (docs/engines.md)."""
_VALUE_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Engines and learner on the accelerators."""

    device: Accelerator
    engine: EngineShape
    learner: LearnerShape
    num_engines: int
    engines_per_device: int
    colocated: bool
    engine_memory_share: float
    host_memory_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What one accelerator holds."""

    budgets: tuple[tuple[str, Budget], ...]
    """By phase of a step; the host's memory comes last if it is used."""
    kv_room_tokens: int
    """Most that `engine.kv_tokens` may be."""

    @property
    def fits(self) -> bool:
        return all(budget.fits for _, budget in self.budgets)


def make_layout(config: RunConfig, model: ModelShape) -> Layout:
    """ConfigError if it is impossible, whatever the memory."""
    cluster = config.cluster
    device = accelerator(cluster.accelerator)
    num_learning = _num_learning(config, device)
    longest = _longest_rollout_tokens(config)
    if config.engine.kv_tokens < longest:
        raise ConfigError(
            f"engine.kv_tokens = {config.engine.kv_tokens} holds no prompt with the longest response: "
            f"raise it to {longest} or more"
        )
    return Layout(
        device=device,
        engine=EngineShape(
            model=model,
            num_devices=cluster.accelerators_per_engine,
            bytes_per_value=_VALUE_BYTES[config.engine.dtype],
            kv_tokens=config.engine.kv_tokens,
            max_running=config.engine.max_running,
            positions_per_token=_PADDED_POSITIONS if config.engine.kind == "torch" else 1,
        ),
        learner=_learner_shape(config, model, num_learning),
        num_engines=config.engine.num_engines,
        engines_per_device=ceil(_num_wanted(config) / cluster.num_accelerators),
        colocated=cluster.colocated,
        engine_memory_share=cluster.engine_memory_share,
        host_memory_bytes=cluster.host_memory_bytes,
    )


def _num_wanted(config: RunConfig) -> int:
    """Accelerators for engines, more than there are if some take turns."""
    return config.engine.num_engines * config.cluster.accelerators_per_engine


def _num_learning(config: RunConfig, device: Accelerator) -> int:
    """Accelerators of the learner: all, or those that engines leave; one for each rank.

    Ranks on a CPU share it.
    """
    cluster, num_ranks = config.cluster, config.learner.num_ranks
    if device.is_host and cluster.num_accelerators > 1:
        raise ConfigError(
            f"cluster.accelerator = {device.name} is a CPU, which counts as one accelerator whatever its "
            f"cores, but cluster.num_accelerators = {cluster.num_accelerators}: set it to 1"
        )
    taken = 0 if cluster.colocated else _num_wanted(config)
    num_learning = cluster.num_accelerators - taken
    if num_learning < 1 or cluster.accelerators_per_engine > cluster.num_accelerators:
        raise ConfigError(
            f"{_num_wanted(config)} accelerators for engines leave none of cluster.num_accelerators = "
            f"{cluster.num_accelerators} for the learner: raise it, or set cluster.colocated = true"
        )
    if max(1, num_ranks) != num_learning and not device.is_host:
        raise ConfigError(
            f"engines leave {num_learning} of cluster.num_accelerators = {cluster.num_accelerators} to the "
            f"learner, one for each rank, but learner.num_ranks = {num_ranks}: set it to {num_learning}, or "
            "change the others"
        )
    return num_learning


def _learner_shape(config: RunConfig, model: ModelShape, num_shards: int) -> LearnerShape:
    # What learns is float32 whatever the checkpoint's type is (assemble/learner.py); ranks cut all of it.
    lora = config.learner.lora
    is_kept = lora.rank and not config.learner.num_ranks
    master_bytes = _VALUE_BYTES[config.model.dtype] if is_kept else 4
    return LearnerShape(
        model=model,
        num_shards=num_shards,
        master_bytes=master_bytes,
        compute_bytes=2 if config.learner.bf16 else master_bytes,
        micro_batch_tokens=max(config.learner.micro_batch_tokens, longest_sample_tokens(config)),
        logprob_chunk_tokens=config.learner.logprob_chunk_tokens,
        checkpoint_activations=config.cluster.checkpoint_activations,
        offload_optimizer=config.cluster.offload_optimizer,
        num_adapter_parameters=adapter_parameters(model, rank=lora.rank, targets=lora.targets),
    )


def longest_sample_tokens(config: RunConfig) -> int:
    """That the learner may meet: a rollout or, where SFT reads files, one of its conversations."""
    sft = config.sft
    reads_files = sft.files and sft.num_steps(config.plan.sft_conversations)
    return max(_longest_rollout_tokens(config), sft.max_tokens if reads_files else 0)


def _longest_rollout_tokens(config: RunConfig) -> int:
    """Of training, prompt included."""
    return config.plan.prompt_tokens + max((stage.max_response_tokens for stage in config.stages), default=0)


def memory_plan(layout: Layout) -> MemoryPlan:
    """What the layout holds, by phase."""
    budgets = [("generating", _generating(layout)), ("learning", _learning(layout))]
    if layout.learner.offload_optimizer:
        budgets.append(("host", _host(layout)))
    room_bytes = _engine_bytes(layout) - _waiting_bytes(layout)
    return MemoryPlan(
        budgets=tuple(budgets),
        kv_room_tokens=layout.engine.kv_room_tokens(room_bytes / layout.engines_per_device),
    )


def _engine_bytes(layout: Layout) -> float:
    """What may be used of one accelerator while it generates."""
    return layout.engine_memory_share * layout.device.memory_bytes


def _waiting_bytes(layout: Layout) -> float:
    """Of a learner beside the engines, while they generate."""
    return layout.learner.resident_bytes if layout.colocated else 0.0


def _generating(layout: Layout) -> Budget:
    engines = tuple((name, size * layout.engines_per_device) for name, size in layout.engine.items())
    waiting = (("waiting learner", _waiting_bytes(layout)),) if layout.colocated else ()
    return Budget(items=(*engines, *waiting), available_bytes=_engine_bytes(layout))


def _learning(layout: Layout) -> Budget:
    """Engines that wait beside the learner keep their weights and give up their KV."""
    weights_bytes = layout.engine.weight_bytes * layout.engines_per_device
    waiting = (("engine weights", weights_bytes),) if layout.colocated else ()
    return Budget(
        items=(*layout.learner.items(), *waiting),
        available_bytes=_LEARNING_SHARE * layout.device.memory_bytes,
    )


def _host(layout: Layout) -> Budget:
    offloaded = ("master weights, moments, gradients", layout.learner.host_bytes)
    return Budget(items=(offloaded,), available_bytes=layout.host_memory_bytes)
