"""What one accelerator makes of the learner and of TorchEngine, at the shapes of Qwen3 with random weights.

    python benchmarks/accelerator.py                      # 0.6B, 1.7B and 4B; 8K and 16K tokens per sample
    python benchmarks/accelerator.py --tiny               # everything in a minute on a CPU, at toy shapes

Learner: steps of one FSDP2 rank in bfloat16 over float32 masters, one sample per micro-batch. Activations are
computed again in backward only where the planner's sum says that they would not fit. MFU is the share of the
accelerator's peak that goes into what a step cannot do without (PaLM, arXiv:2204.02311, appendix B):

    flops = 6 N D + 12 L H d P          per step of D trained tokens

N parameters that tokens are multiplied by, L layers, H heads of size d, P pairs of a token and one that it
attends; 3 times a forward pass, since backward is two. Causal attention needs half of all pairs, so P is half
of what PaLM counts; nothing is counted for padding or for what is computed twice.

Engine: tokens per second while all rows decode, from two runs of different length, so that prefill falls out.
The bound is what reading once per step allows, at the peak bandwidth of the data sheet:

    tokens/s <= B * bandwidth / (weight bytes + B * context * KV bytes per token)
"""

import argparse
import asyncio
import gc
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel

from rstar2.engines.torch_engine import TorchEngine
from rstar2.learner.fsdp import FsdpLearner
from rstar2.learner.sharding import Sharding
from rstar2.models.loading import build_tiny
from rstar2.planning.memory import LearnerShape
from rstar2.ports import Objective
from rstar2.profiles import Accelerator, ModelShape, accelerator, accelerator_names, model_shape
from rstar2.types import GenerationRequest, TrainSample

VALUE_BYTES = 2
"""Of bfloat16, in which everything is multiplied and read."""
TOY = ModelShape(
    name="toy", num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16,
    intermediate_size=128, vocab_size=512, tied_embeddings=True, query_key_norms=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is measured."""

    learner_shapes: tuple[ModelShape, ...]
    engine_shapes: tuple[ModelShape, ...]
    sample_tokens: tuple[int, ...]
    num_samples: int
    """Per optimizer step."""
    num_steps: int
    batch_size: int
    """Rows that decode together."""
    prompt_tokens: int
    new_tokens: tuple[int, int]
    """Of the shorter and of the longer run."""


FULL = Workload(
    learner_shapes=tuple(model_shape(f"Qwen/Qwen3-{size}") for size in ("0.6B", "1.7B", "4B")),
    engine_shapes=tuple(model_shape(f"Qwen/Qwen3-{size}") for size in ("0.6B", "4B")),
    sample_tokens=(8192, 16_384),
    num_samples=4,
    num_steps=3,
    batch_size=64,
    prompt_tokens=512,
    new_tokens=(32, 288),
)
TINY = replace(
    FULL,
    learner_shapes=(TOY,),
    engine_shapes=(TOY,),
    sample_tokens=(128, 256),
    num_samples=2,
    num_steps=1,
    batch_size=4,
    prompt_tokens=16,
    new_tokens=(4, 20),
)


def training_flops(shape: ModelShape, *, num_samples: int, sample_tokens: int) -> float:
    """Of one step over samples of which every token is trained."""
    return 3 * shape.forward_flops(num_samples * sample_tokens, sample_tokens / 2)


def decode_bound(shape: ModelShape, *, batch_size: int, context_tokens: float, bytes_per_s: float) -> float:
    """Tokens per second that memory allows."""
    weights_bytes = VALUE_BYTES * shape.num_multiplied_parameters
    kv_bytes = batch_size * context_tokens * shape.kv_bytes_per_token(VALUE_BYTES)
    return batch_size * bytes_per_s / (weights_bytes + kv_bytes)


def model_of(shape: ModelShape, *, max_positions: int, device: torch.device) -> PreTrainedModel:
    """Random weights, drawn where they will be."""
    with device:
        return build_tiny(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
            num_kv_heads=shape.num_kv_heads,
            head_dim=shape.head_dim,
            mlp_size=shape.intermediate_size,
            max_positions=max_positions,
            seed=0,
        )


# -- learner ---------------------------------------------------------------------------------------


def must_recompute(shape: ModelShape, *, sample_tokens: int, on: Accelerator) -> bool:
    """Whether activations of one sample do not fit beside weights, gradients and moments."""
    plan = LearnerShape(
        model=shape,
        num_shards=1,
        master_bytes=4,
        compute_bytes=VALUE_BYTES,
        micro_batch_tokens=sample_tokens,
        logprob_chunk_tokens=2048,
        checkpoint_activations=False,
        offload_optimizer=False,
    )
    return sum(size for _, size in plan.items()) > 0.9 * on.memory_bytes


def samples_of(shape: ModelShape, *, num_samples: int, sample_tokens: int) -> list[TrainSample]:
    rng = random.Random(0)
    return [
        TrainSample(
            token_ids=tuple(rng.randrange(shape.vocab_size) for _ in range(sample_tokens)),
            loss_mask=(False, *[True] * (sample_tokens - 1)),
            logprobs=(0.0,) * sample_tokens,
            advantage=rng.gauss(0.0, 1.0),
        )
        for _ in range(num_samples)
    ]


def learner_row(shape: ModelShape, sample_tokens: int, work: Workload, on: Accelerator) -> str:
    """One line of the first table; the process group is there."""
    device = torch.device(device_type())
    recomputes = must_recompute(shape, sample_tokens=sample_tokens, on=on)
    learner = FsdpLearner(
        model_of(shape, max_positions=sample_tokens, device=device),
        Sharding(mesh=init_device_mesh(device.type, (1,)), checkpoint_activations=recomputes),
        micro_batch_tokens=sample_tokens,
        bf16=True,
    )
    samples = samples_of(shape, num_samples=work.num_samples, sample_tokens=sample_tokens)
    durations_s = []
    for _ in range(1 + work.num_steps):
        begin_s = time.perf_counter()
        learner.step(samples, objective=Objective.POLICY, lr=1e-6)  # reads its metrics: nothing is pending
        durations_s.append(time.perf_counter() - begin_s)
    step_s = statistics.median(durations_s[1:])
    flops = training_flops(shape, num_samples=work.num_samples, sample_tokens=sample_tokens)
    return (
        f"{shape.name:<18}{sample_tokens:>8,}{work.num_samples * sample_tokens / step_s:>12,.0f}"
        f"{flops / step_s / on.peak_flops_per_s:>8.1%}{'yes' if recomputes else 'no':>12}{peak():>10}"
    )


@contextmanager
def process_group() -> Iterator[None]:
    """Of one rank."""
    backend = "gloo" if device_type() == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


# -- engine ----------------------------------------------------------------------------------------


def requests_of(shape: ModelShape, work: Workload, *, new_tokens: int) -> list[GenerationRequest]:
    """Prompts that share nothing: every row's keys are its own."""
    rng = random.Random(1)
    return [
        GenerationRequest(
            rollout_id=f"rollout-{row}",
            group_id=f"group-{row}",
            token_ids=tuple(rng.randrange(shape.vocab_size) for _ in range(work.prompt_tokens)),
            prompt_length=work.prompt_tokens,
            max_new_tokens=new_tokens,
            max_total_tokens=work.prompt_tokens + new_tokens,
            temperature=1.0,
            top_p=1.0,
            seed=row,
        )
        for row in range(work.batch_size)
    ]


async def batch_s(engine: TorchEngine, requests: list[GenerationRequest]) -> float:
    begin_s = time.perf_counter()
    await asyncio.gather(*(engine.generate(request) for request in requests))
    duration_s = time.perf_counter() - begin_s
    for request in requests:
        engine.release(request.rollout_id)
    return duration_s


async def decode_tokens_per_s(shape: ModelShape, work: Workload) -> float:
    shorter, longer = work.new_tokens
    longest = work.prompt_tokens + longer
    device = torch.device(device_type())
    engine = TorchEngine(
        model_of(shape, max_positions=longest, device=device).to(torch.bfloat16),
        eos_token_id=-1,  # nothing stops a row early
        kv_tokens=2 * work.batch_size * longest,
        max_running=work.batch_size,
    )
    try:
        await batch_s(engine, requests_of(shape, work, new_tokens=shorter))  # warms up
        short_s = await batch_s(engine, requests_of(shape, work, new_tokens=shorter))
        long_s = await batch_s(engine, requests_of(shape, work, new_tokens=longer))
    finally:
        await engine.close()
    return work.batch_size * (longer - shorter) / (long_s - short_s)


def engine_row(shape: ModelShape, work: Workload, on: Accelerator) -> str:
    """One line of the second table."""
    rate = asyncio.run(decode_tokens_per_s(shape, work))
    context_tokens = work.prompt_tokens + sum(work.new_tokens) / 2
    bound = decode_bound(
        shape,
        batch_size=work.batch_size,
        context_tokens=context_tokens,
        bytes_per_s=on.peak_bandwidth_bytes_per_s,
    )
    return (
        f"{shape.name:<18}{work.batch_size:>8}{context_tokens:>10,.0f}{rate:>12,.0f}{bound:>12,.0f}"
        f"{rate / bound:>8.1%}{peak():>10}"
    )


# -- machine ---------------------------------------------------------------------------------------


def device_type() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def name_of_machine() -> str:
    """Its name among the profiles, as far as the driver's name tells."""
    if device_type() == "cpu":
        return "cpu-2-cores"
    told = torch.cuda.get_device_name().lower()
    return next(name for name in accelerator_names() if name in told)


def peak() -> str:
    """GiB allocated at most since the last call, and everything else freed; nothing on a CPU."""
    gc.collect()
    if device_type() == "cpu":
        return "-"
    allocated = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return f"{allocated:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="toy shapes, for a CPU")
    parser.add_argument("--accelerator", choices=accelerator_names(), help="default: this machine's")
    arguments = parser.parse_args()
    work = TINY if arguments.tiny else FULL
    on = accelerator(arguments.accelerator or name_of_machine())
    peaks = f"{on.peak_flops_per_s / 1e12:,.1f} Tflop/s, {on.peak_bandwidth_bytes_per_s / 1e9:,.0f} GB/s"
    print(f"{on.name}: {peaks}")
    print(f"\n{'learner':<18}{'sample':>8}{'tokens/s':>12}{'MFU':>8}{'recomputes':>12}{'peak GiB':>10}")
    with process_group():
        for shape in work.learner_shapes:
            for sample_tokens in work.sample_tokens:
                print(learner_row(shape, sample_tokens, work, on), flush=True)
    print(
        f"\n{'decode':<18}{'rows':>8}{'context':>10}{'tokens/s':>12}{'bound':>12}{'share':>8}{'peak GiB':>10}"
    )
    for shape in work.engine_shapes:
        print(engine_row(shape, work, on), flush=True)


if __name__ == "__main__":
    main()
