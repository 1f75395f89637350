"""Starts vLLM: its engine core and workers in processes of their own, seen through `AsyncLLM`.

Not here: what is asked of it (vllm_engine.py). vLLM is imported inside functions, as it takes long and is an
extra; this module, vllm_engine.py and vllm_worker.py are the only ones that know it.
"""

import asyncio
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig

from rstar2.engines.vllm_statistics import Statistics
from rstar2.errors import EngineError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # else it reports to its makers
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": "1",  # then a signal ends a worker, which holds nothing to lose
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else all engines of a machine share one core
}
"""What vLLM takes from the environment alone; read at its first import."""
WORKER_EXTENSION = "rstar2.engines.vllm_worker.WeightReader"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """What vLLM is started with."""

    model: str
    """Folder or hub id of a Hugging Face checkpoint; only its config matters if weights are adopted."""
    kv_tokens: int
    max_running: int
    dtype: str = "float32"
    block_tokens: int = 32
    """Tokens per block of the KV cache: prefixes are shared in whole blocks."""
    num_devices: int = 1
    """Over which each layer is split (tensor parallelism)."""
    max_prefill_tokens: int = 4096
    """Tokens of prompts per forward."""
    eager: bool = False
    """Neither compile nor record CUDA graphs: starts faster, runs slower."""
    can_sleep: bool = False
    """Allocate so that weights and KV cache can leave the GPU."""


@dataclass(frozen=True, slots=True)
class Core:
    """A running vLLM."""

    llm: "AsyncLLM"
    statistics: Statistics
    max_total_tokens: int
    """Longest sequence that the model was made for, or that fits."""
    can_sleep: bool


async def start_core(options: VllmOptions) -> Core:
    """All its processes up and the model loaded; EngineError says what to look at if they cannot start."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return await asyncio.to_thread(_start, options)
    except ImportError as error:
        raise EngineError(f"vLLM cannot be imported ({error}): pip install 'rstar2[vllm]'") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"vLLM did not start ({error}); its own messages above say why") from error


def _start(options: VllmOptions) -> Core:
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    model = AutoConfig.from_pretrained(options.model)
    longest = min(model.max_position_embeddings, options.kv_tokens)
    # Half a prompt read is a draw taken back, which a generator on a CPU cannot do: vLLM would die of it.
    reads_whole_prompts = current_platform.is_cpu()
    forward_tokens = max(options.max_prefill_tokens, options.max_running, longest * reads_whole_prompts)
    arguments = AsyncEngineArgs(
        model=options.model,
        skip_tokenizer_init=True,
        dtype=options.dtype,
        tensor_parallel_size=options.num_devices,
        # All on this machine; in an actor of Ray's, vLLM would spread its workers over actors of its own.
        distributed_executor_backend="mp" if options.num_devices > 1 else None,
        block_size=options.block_tokens,
        kv_cache_memory_bytes=_kv_bytes_per_device(model, options),
        max_model_len=longest,
        max_num_seqs=options.max_running,
        max_num_batched_tokens=forward_tokens,
        enable_chunked_prefill=not reads_whole_prompts,
        enable_prefix_caching=True,
        logprobs_mode="processed_logprobs",  # of the distribution that was drawn from
        generation_config="vllm",  # i.e. none: a request alone says how to draw, the checkpoint does not
        enforce_eager=options.eager,
        enable_sleep_mode=options.can_sleep,
        worker_extension_cls=WORKER_EXTENSION,
        disable_log_stats=False,
    )
    statistics = Statistics()
    llm = AsyncLLM.from_engine_args(arguments, stat_loggers=[_logger_into(statistics)])
    cache = llm.vllm_config.cache_config
    statistics.kv_tokens_total = (cache.num_gpu_blocks - 1) * cache.block_size  # one block is vLLM's own
    return Core(llm, statistics, min(longest, statistics.kv_tokens_total), options.can_sleep)


def _kv_bytes_per_device(model: Any, options: VllmOptions) -> int:
    """Room for `kv_tokens`, and for the block that vLLM keeps for itself."""
    heads = model.num_key_value_heads
    head_dim = getattr(model, "head_dim", None) or model.hidden_size // model.num_attention_heads
    bytes_per_value = getattr(torch, options.dtype).itemsize
    bytes_per_token: int = 2 * model.num_hidden_layers * heads * head_dim * bytes_per_value
    num_blocks = math.ceil(options.kv_tokens / options.block_tokens) + 1
    return num_blocks * options.block_tokens * bytes_per_token // options.num_devices


def _logger_into(statistics: Statistics) -> Any:
    """What vLLM takes for a factory of loggers."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Logger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(
            self,
            scheduler_stats: Any,
            iteration_stats: Any,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
        ) -> None:
            statistics.record(scheduler_stats, iteration_stats)

        def log_engine_initialized(self) -> None: ...

    return Logger
