"""Tokens per second of TorchEngine against `transformers` generate, on one batch and in one run.

    python benchmarks/engine.py --hidden-size 192 --layers 4 --concurrency 128 256

Groups of 16 rollouts share a prompt; every rollout writes the same number of tokens (the stop token is
ignored on both sides), so both do the same work. The engine's log-probs are checked against an uncached
forward of the same weights in float32 before anything is timed.
"""

import argparse
import asyncio
import copy
import random
import time

import torch
from transformers import PreTrainedModel

from rstar2.engines.torch_engine import TorchEngine
from rstar2.models.loading import build_tiny
from rstar2.types import Generation, GenerationRequest

GROUP_SIZE = 16


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    model = build_tiny(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden_size,
        num_layers=arguments.layers,
        num_heads=4,
        num_kv_heads=2,
        head_dim=arguments.hidden_size // 4,
        mlp_size=arguments.mlp_size or 2 * arguments.hidden_size,
        max_positions=4096,
        seed=0,
    ).eval()
    model.to(arguments.device)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    bound = asyncio.run(largest_logprob_difference(model))
    print(f"{millions:.2f} M parameters, {torch.get_num_threads()} threads, {arguments.device}")
    print(f"largest log-prob difference to an uncached float32 forward: {bound:.1e} nats")
    assert bound < 1e-4
    print(f"{'rollouts':>8} {'dtype':>9} {'engine tok/s':>13} {'generate tok/s':>15} {'ratio':>6}")
    for concurrency in arguments.concurrency:
        requests = requests_of(
            concurrency, arguments.prompt_tokens, arguments.new_tokens, arguments.vocabulary
        )
        for dtype in (torch.float32, torch.bfloat16):
            typed = copy.deepcopy(model).to(dtype)
            ours = engine_tokens_per_s(copy.deepcopy(typed), requests)
            theirs = generate_tokens_per_s(typed, requests) if arguments.baseline else float("nan")
            print(
                f"{concurrency:>8} {str(dtype).removeprefix('torch.'):>9} {ours:>13,.0f} {theirs:>15,.0f} "
                f"{ours / theirs:>6.2f}",
                flush=True,
            )


def requests_of(
    concurrency: int, prompt_tokens: int, new_tokens: int, vocabulary: int
) -> list[GenerationRequest]:
    rng = random.Random(0)
    prompts = [
        tuple(rng.randrange(vocabulary) for _ in range(prompt_tokens))
        for _ in range(-(-concurrency // GROUP_SIZE))
    ]
    return [
        GenerationRequest(
            rollout_id=f"rollout-{i}",
            group_id=f"group-{i // GROUP_SIZE}",
            token_ids=prompts[i // GROUP_SIZE],
            prompt_length=prompt_tokens,
            max_new_tokens=new_tokens,
            max_total_tokens=prompt_tokens + new_tokens,
            temperature=1.0,
            top_p=1.0,
            seed=i,
        )
        for i in range(concurrency)
    ]


def engine_for(model: PreTrainedModel, requests: list[GenerationRequest]) -> TorchEngine:
    """An engine with room for all requests, which no token stops."""
    kv_tokens = sum(request.max_total_tokens for request in requests)
    return TorchEngine(model, eos_token_id=-1, kv_tokens=kv_tokens, max_running=len(requests))


async def answers(engine: TorchEngine, requests: list[GenerationRequest]) -> list[Generation]:
    made = await asyncio.gather(*(engine.generate(request) for request in requests))
    await engine.close()
    return made


def engine_tokens_per_s(model: PreTrainedModel, requests: list[GenerationRequest]) -> float:
    """Everything from the first submission to the last result."""
    engine = engine_for(model, requests)
    begin = time.perf_counter()
    made = asyncio.run(answers(engine, requests))
    return sum(len(generation.token_ids) for generation in made) / (time.perf_counter() - begin)


@torch.inference_mode()
def generate_tokens_per_s(model: PreTrainedModel, requests: list[GenerationRequest]) -> float:
    """The same prompts as one batch: equal lengths, hence no padding, which is generate's best case."""
    prompts = torch.tensor([request.token_ids for request in requests], device=model.device)
    begin = time.perf_counter()
    out = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=requests[0].max_new_tokens,
        do_sample=True,
        top_k=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    out = out.cpu()
    return (out.shape[1] - prompts.shape[1]) * out.shape[0] / (time.perf_counter() - begin)


async def largest_logprob_difference(model: PreTrainedModel) -> float:
    """Over 32 rollouts in two groups, against the model's own attention without a cache."""
    requests = requests_of(32, 61, 41, model.config.vocab_size)
    made = await answers(engine_for(copy.deepcopy(model), requests), requests)
    token_ids = torch.tensor(
        [
            [*request.token_ids, *generation.token_ids]
            for request, generation in zip(requests, made, strict=True)
        ],
        device=model.device,
    )
    with torch.inference_mode():
        logprobs = model(token_ids).logits.float().log_softmax(-1)[:, 60:-1]
    expected = logprobs.gather(2, token_ids[:, 61:, None])[..., 0]
    actual = torch.tensor([generation.logprobs for generation in made], device=model.device)
    return float((expected - actual).abs().max())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden-size", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--mlp-size", type=int, default=0, help="default: twice the hidden size")
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--prompt-tokens", type=int, default=150)
    parser.add_argument("--new-tokens", type=int, default=150)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-baseline", dest="baseline", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    main()
