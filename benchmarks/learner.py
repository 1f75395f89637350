"""How fast a learner step is, and how much memory it takes.

    python benchmarks/learner.py [--groups 4] [--threads 2] [--no-memory]

Speed: one optimizer step over the same rollouts (groups of 16 that share a prompt of 150-200 tokens,
responses of 60-140), in response tokens per second. `padded` is the common way: right-padded batches, whole
logits, no sharing. Memory: peak resident set of one step over a micro-batch of 16,384 targets at a vocabulary
of 32,000. Every arm runs in a process of its own.
"""

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny
from rstar2.ports import Objective
from rstar2.types import TrainSample

NUM_STEPS = 3
MICRO_BATCH_TOKENS = 2048
MEMORY_TOKENS = 16_384
MEMORY_VOCAB = 32_000


def model(vocab_size: int) -> PreTrainedModel:
    return build_tiny(
        vocab_size=vocab_size,
        hidden_size=192,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=48,
        mlp_size=576,
        max_positions=MEMORY_TOKENS,
        seed=0,
    )


def rollouts(num_groups: int, vocab_size: int) -> list[TrainSample]:
    """Random tokens: only their number matters here."""
    rng = random.Random(0)
    samples = []
    for group in range(num_groups):
        prompt = tuple(rng.randrange(vocab_size) for _ in range(rng.randint(150, 200)))
        for _ in range(16):
            response = tuple(rng.randrange(vocab_size) for _ in range(rng.randint(60, 140)))
            samples.append(
                TrainSample(
                    token_ids=prompt + response,
                    loss_mask=(False,) * len(prompt) + (True,) * len(response),
                    logprobs=(0.0,) * len(prompt) + (-7.6,) * len(response),
                    advantage=rng.gauss(0.0, 1.0),
                    prompt_length=len(prompt),
                    group_id=str(group),
                )
            )
    return samples


def unshared(samples: list[TrainSample]) -> list[TrainSample]:
    return [replace(sample, group_id="") for sample in samples]


def padded_step(samples: list[TrainSample], budget: int = MICRO_BATCH_TOKENS) -> Callable[[], object]:
    """A plain REINFORCE step: batches padded to their longest, logits of every token."""
    policy = model(2048)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4, fused=True)
    num_targets = sum(sum(s.loss_mask) for s in samples)

    def step() -> None:
        optimizer.zero_grad()
        for batch in batches(samples, budget):
            token_ids_BT = pad_sequence([torch.tensor(s.token_ids) for s in batch], batch_first=True)
            mask_BT = pad_sequence([torch.tensor(s.loss_mask) for s in batch], batch_first=True)[:, 1:]
            real_BT = pad_sequence([torch.ones(len(s.token_ids)) for s in batch], batch_first=True)
            logits_BTV = policy(input_ids=token_ids_BT, attention_mask=real_BT, use_cache=False).logits[
                :, :-1
            ]
            logprobs_BT = logits_BTV.log_softmax(-1).gather(2, token_ids_BT[:, 1:, None])[..., 0]
            advantages_B1 = torch.tensor([[s.advantage] for s in batch])
            loss = -(logprobs_BT * advantages_B1 * mask_BT).sum() / num_targets
            loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()

    return step


def batches(samples: list[TrainSample], budget: int) -> Iterator[list[TrainSample]]:
    """Of about the budget after padding, longest first so that little is padded."""
    queue = sorted(samples, key=lambda s: -len(s.token_ids))
    while queue:
        size = max(1, budget // len(queue[0].token_ids))
        yield queue[:size]
        del queue[:size]


def packed_step(samples: list[TrainSample], *, bf16: bool = False) -> Callable[[], object]:
    learner = TorchLearner(model(2048), micro_batch_tokens=MICRO_BATCH_TOKENS, bf16=bf16)
    return lambda: learner.step(samples, objective=Objective.POLICY, lr=1e-4)


def tokens_per_s(step: Callable[[], object], samples: list[TrainSample]) -> float:
    """Response tokens per second, the best of a few steps after a first one."""
    step()
    durations_s = []
    for _ in range(NUM_STEPS):
        start_s = time.perf_counter()
        step()
        durations_s.append(time.perf_counter() - start_s)
    return sum(sum(s.loss_mask) for s in samples) / min(durations_s)


def peak_gib(chunk_tokens: int) -> float:
    """Peak resident set of this process after one step over one micro-batch."""
    rng = random.Random(0)
    ids = [tuple(rng.randrange(MEMORY_VOCAB) for _ in range(513)) for _ in range(MEMORY_TOKENS // 512)]
    samples = [TrainSample(token_ids=i, loss_mask=(False, *[True] * 512), logprobs=(0.0,) * 513) for i in ids]
    learner = TorchLearner(
        model(MEMORY_VOCAB), micro_batch_tokens=2 * MEMORY_TOKENS, logprob_chunk_tokens=chunk_tokens
    )
    learner.step(samples, objective=Objective.LIKELIHOOD, lr=1e-4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


SPEED_ARMS: dict[str, Callable[[list[TrainSample]], Callable[[], object]]] = {
    "padded, whole logits": padded_step,
    "packed": lambda samples: packed_step(unshared(samples)),
    "packed, shared prompts": packed_step,
    "packed, shared prompts, bf16": lambda samples: packed_step(samples, bf16=True),
}
MEMORY_ARMS = {"whole logits": MEMORY_TOKENS, "chunks of 2048 tokens": 2048}


def run_arm(arm: str, num_groups: int) -> float:
    if arm in MEMORY_ARMS:
        return peak_gib(MEMORY_ARMS[arm])
    samples = rollouts(num_groups, 2048)
    return tokens_per_s(SPEED_ARMS[arm](samples), samples)


def in_child(arm: str, arguments: argparse.Namespace) -> float:
    options = [f"--groups={arguments.groups}", f"--threads={arguments.threads}", f"--arm={arm}"]
    done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-memory", action="store_true", help="skip the arms that need about 10 GiB")
    parser.add_argument("--arm", choices=[*SPEED_ARMS, *MEMORY_ARMS], help="run one arm, print its number")
    arguments = parser.parse_args()
    if arguments.arm:
        torch.set_num_threads(arguments.threads)
        print(run_arm(arguments.arm, arguments.groups))
        return
    print(f"{'step':34}{'response tokens/s':>20}{'speed-up':>10}")
    baseline = 0.0
    for arm in SPEED_ARMS:
        rate = in_child(arm, arguments)
        baseline = baseline or rate
        print(f"{arm:34}{rate:>20,.0f}{rate / baseline:>9.1f}x")
    if not arguments.no_memory:
        print(f"\n{'log-probs of 16,384 targets':34}{'peak GiB':>20}")
        for arm in MEMORY_ARMS:
            print(f"{arm:34}{in_child(arm, arguments):>20.2f}")


if __name__ == "__main__":
    main()
