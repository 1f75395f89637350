"""How long one RL step takes, part by part, in seconds.

    step = max(engines, sandbox) + learner + publish, or with `rollout.max_lag` and devices for each
    step = max(engines, sandbox, learner) + publish

Rollouts occupy engines and sandbox at the same time; on a CPU, which is both, the two add up. The engines'
time is simulated: one engine plays its share of the rollouts, which stands for all of them under a balanced
schedule. Everything else is work divided by speed. Evaluations and checkpoints are not counted.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from rstar2.planning.memory import LearnerShape
from rstar2.profiles import Accelerator, ModelShape
from rstar2.rollout.placement.worst_case import WorstCaseReservation
from rstar2.rollout.simulation.cluster import Cluster
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.outcome import Outcome
from rstar2.rollout.simulation.step_times import StepTimes
from rstar2.rollout.workload import RolloutTrace, Workload, draw_step

_DRAW_SEED = 0
_NUM_DRAWN = 4096
_LEAST_SIMULATED = 512
"""Rollouts of one engine, if it has so many."""
_NODE_ACCELERATORS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDuration:
    """One RL step."""

    engines_s: float
    tail_s: float
    """Of `engines_s`, after nine tenths of the rollouts have ended."""
    sandbox_s: float
    """Tool calls and rewards at the sandbox's full capacity."""
    learner_s: float
    publish_s: float
    """New weights, from learner to engines."""

    on_one_host: bool
    """Engines and sandbox share their cores."""
    is_overlapped: bool
    """The learner learns from one batch while the next one is played."""

    @property
    def rollouts_s(self) -> float:
        both = (self.engines_s, self.sandbox_s)
        return sum(both) if self.on_one_host else max(both)

    @property
    def step_s(self) -> float:
        both = (self.rollouts_s, self.learner_s)
        return (max(both) if self.is_overlapped else sum(both)) + self.publish_s

    @property
    def longest_part(self) -> tuple[str, float]:
        """(what the step mostly waits for, seconds)."""
        slower = ("engines", self.engines_s)
        if self.sandbox_s > self.engines_s:
            slower = ("sandbox", self.sandbox_s)
        parts = (slower, ("learner", self.learner_s), ("new weights", self.publish_s))
        return max(parts, key=lambda part: part[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGroup:
    """Equal engines."""

    times: StepTimes
    num_engines: int
    engines_per_device: int
    """That take turns on one accelerator; 1 unless there are more engines than accelerators."""
    kv_tokens: int
    max_running: int


@lru_cache(maxsize=64)
def engines_s(workload: Workload, engines: EngineGroup) -> tuple[float, float]:
    """(until the last rollout ends, of which tail).

    Once an engine is full, rollouts end at an even rate. So of a large share only a sample is simulated,
    several times what runs at once, and the rate at which its middle half ends is continued to the whole.
    """
    share = ceil(workload.num_rollouts / engines.num_engines)
    longest_tokens = workload.prompt_tokens + workload.max_response_tokens
    num_at_once = min(engines.kv_tokens // longest_tokens, engines.max_running)
    count = min(share, max(_LEAST_SIMULATED, 6 * num_at_once), _NUM_DRAWN)
    outcome = _simulated(workload, engines, count)
    first, last = count // 4, 3 * count // 4
    s_per_rollout = (outcome.finished_s[last] - outcome.finished_s[first]) / max(1, last - first)
    makespan_s = outcome.makespan_s + (share - count) * s_per_rollout
    return makespan_s * engines.engines_per_device, outcome.tail_s * engines.engines_per_device


def _simulated(workload: Workload, engines: EngineGroup, count: int) -> Outcome:
    """One engine that plays `count` rollouts."""
    engine = SimulatedEngine(engines.times, kv_tokens=engines.kv_tokens, max_rows=engines.max_running)
    return Cluster([engine], WorstCaseReservation(1)).run(_sample(workload, count))


@lru_cache(maxsize=64)
def _sample(workload: Workload, count: int) -> tuple[RolloutTrace, ...]:
    """`count` rollouts at equal distances of all by length, the longest among them, in mixed order.

    They are called groups anew, with a prompt each: an engine that holds a group computes its prompt once.
    """
    by_length = _by_length(workload)
    chosen = [by_length[i * len(by_length) // count] for i in range(count)]
    size = workload.rollouts_per_problem
    return tuple(
        replace(chosen[i], problem_id=f"g{n // size}", index=n % size, prompt_tokens=workload.prompt_tokens)
        for n, i in enumerate(_mixed(count))
    )


@lru_cache(maxsize=16)
def _by_length(workload: Workload) -> tuple[RolloutTrace, ...]:
    """Rollouts of as many problems, longest first: how lengths are spread, without the luck of one step."""
    independent = replace(workload, num_problems=_NUM_DRAWN, rollouts_per_problem=1)
    return tuple(sorted(draw_step(independent, seed=_DRAW_SEED), key=lambda trace: -trace.response_tokens))


def _mixed(count: int) -> list[int]:
    """0 to count - 1 in an order without runs: by multiples of the golden section."""
    return sorted(range(count), key=lambda i: (i * 0.618033988749895) % 1.0)


def sandbox_s(workload: Workload, *, num_workers: int, grading_s: float) -> float:
    """All calls and rewards of a step over all workers."""
    work_s = workload.num_rollouts * (workload.calls_per_rollout * workload.tool_mean_s + grading_s)
    return work_s / num_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerGroup:
    """The learner's accelerators."""

    shape: LearnerShape
    accelerator: Accelerator
    network_bytes_per_s: float

    @property
    def exchange_bytes_per_s(self) -> float:
        """Of one accelerator to the others: within a node if they are all in one."""
        one_node = self.shape.num_shards <= _NODE_ACCELERATORS
        return self.accelerator.link_bytes_per_s if one_node else self.network_bytes_per_s


def learner_s(
    learner: LearnerGroup, *, num_tokens: float, context_tokens: float, num_updates: int = 1
) -> float:
    """The optimizer steps over `num_tokens` that attend to `context_tokens` others on average.

    Compute: forward, one of its size for the gradients of the inputs, another for those of the weights unless
    they are frozen, and one more if activations are checkpointed, over the training share of the peak. Before
    several updates, all tokens but those of the first have a forward more, which scores them.
    Exchange (FSDP): per micro-batch all weights are gathered twice and gradients scattered once, over the
    network, beside the computation. Offload: per update, gradients to the host and weights back. Products of
    adapters are not counted: they are about a hundredth of the others.
    """
    shape, device = learner.shape, learner.accelerator
    scored_share = 1 - 1 / num_updates
    passes = (2 if shape.num_frozen_parameters else 3) + shape.checkpoint_activations + scored_share
    flops = passes * shape.model.forward_flops(num_tokens, context_tokens)
    compute_s = flops / (shape.num_shards * device.peak_flops_per_s * device.training_share)
    exchange_s = 0.0
    if shape.num_shards > 1:
        num_micro_batches = num_tokens / shape.num_shards / shape.micro_batch_tokens
        gathered = (2 + scored_share) * (shape.num_frozen_parameters + shape.num_trained_parameters)
        exchanged = gathered + shape.num_trained_parameters
        exchange_s = num_micro_batches * shape.compute_bytes * exchanged / learner.exchange_bytes_per_s
    return max(compute_s, exchange_s) + num_updates * _offload_s(learner)


def _offload_s(learner: LearnerGroup) -> float:
    shape = learner.shape
    if not shape.offload_optimizer:
        return 0.0
    moved_bytes = 2 * shape.compute_bytes * shape.num_trained_parameters / shape.num_shards
    return moved_bytes / learner.accelerator.host_link_bytes_per_s


def publish_s(model: ModelShape, *, bytes_per_value: int, bytes_per_s: float) -> float:
    """Every worker of an engine receives all weights, in the learner's type, and keeps its part of them."""
    return bytes_per_value * model.num_parameters / bytes_per_s


def learned_tokens(workload: Workload, *, group_size: int, kept_share: float) -> tuple[float, float]:
    """(tokens that the learner computes in a step, tokens that each attends to on average).

    A kept group is its prompt once and G responses. Token t of a response of n attends to the prompt and t
    others: prompt + n / 2, weighted by n.
    """
    lengths = [trace.response_tokens for trace in _by_length(workload)]
    mean = sum(lengths) / len(lengths)
    num_tokens = workload.num_problems * kept_share * (workload.prompt_tokens + group_size * mean)
    context = workload.prompt_tokens + sum(n * n for n in lengths) / sum(lengths) / 2
    return num_tokens, context


def supervised_s(learner: LearnerGroup, *, num_samples: int, sample_tokens: int) -> float:
    """One step over samples of about one length."""
    return learner_s(learner, num_tokens=num_samples * sample_tokens, context_tokens=sample_tokens / 2)
