"""What to simulate, as a TOML file: a cluster, workloads, policies, seeds.

The learning policy starts from the lengths of one earlier step of the same stage. Its problems are others,
as within an epoch, or the same at an older policy, as in a later epoch (`is_later_epoch`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from rstar2.config import Section, load_section
from rstar2.errors import ConfigError
from rstar2.profiles import accelerator, model_shape
from rstar2.rollout.placement.catalog import POLICY_NAMES, make_policy
from rstar2.rollout.placement.learned import EngineCosts
from rstar2.rollout.placement.lengths import Lengths
from rstar2.rollout.placement.policy import Policy
from rstar2.rollout.simulation.bound import lower_bound_s
from rstar2.rollout.simulation.cluster import Cluster
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.outcome import Outcome
from rstar2.rollout.simulation.step_times import StepTimes, engine_costs, kv_capacity_tokens, step_times
from rstar2.rollout.workload import PAPER_STAGES, RolloutTrace, Workload, draw_step

_EARLIER = 1_000_000
"""Added to a seed: the step that was learned from."""


class ClusterSection(Section):
    """Equal engines."""

    model: str
    accelerator: str
    num_devices: int = Field(ge=1)
    devices_per_engine: int = Field(1, ge=1)
    """Tensor parallelism."""
    memory_share: float = Field(0.8, gt=0, le=1)
    """Of a device, that its engine may use (release: gpu_memory_utilization)."""
    prefill_chunk_tokens: int = Field(512, ge=1)
    """Prefilled beside the decoding rows in one step."""
    max_rows: int = Field(1024, ge=1)
    """Turns that run at once (verl's max_num_seqs)."""

    @model_validator(mode="after")
    def _engines_take_all_devices(self) -> Self:
        if self.num_devices % self.devices_per_engine:
            raise ValueError(
                f"engines of {self.devices_per_engine} devices (devices_per_engine) do not share out "
                f"{self.num_devices} (num_devices): make it a multiple"
            )
        return self

    @property
    def num_engines(self) -> int:
        return self.num_devices // self.devices_per_engine

    @cached_property
    def times(self) -> StepTimes:
        return step_times(
            model_shape(self.model), accelerator(self.accelerator), num_devices=self.devices_per_engine
        )

    @cached_property
    def kv_tokens(self) -> int:
        """Of one engine."""
        return kv_capacity_tokens(
            model_shape(self.model),
            accelerator(self.accelerator),
            num_devices=self.devices_per_engine,
            memory_share=self.memory_share,
        )

    @property
    def costs(self) -> EngineCosts:
        return engine_costs(self.times)


class WorkloadSection(Section):
    """One RL step of a stage of the paper."""

    stage: Literal["rl1", "rl2", "rl3"]
    progress: float = Field(1.0, ge=0, le=1)
    """Share of the stage's steps that are done."""
    num_problems: int = Field(512, ge=1)
    rollouts_per_problem: int = Field(32, ge=1)

    @property
    def workload(self) -> Workload:
        course = PAPER_STAGES[("rl1", "rl2", "rl3").index(self.stage)]
        return replace(
            course.at(self.progress),
            num_problems=self.num_problems,
            rollouts_per_problem=self.rollouts_per_problem,
        )


class Scenario(Section):
    """Every policy on every workload at every seed."""

    cluster: ClusterSection
    workloads: tuple[WorkloadSection, ...] = ()
    policies: tuple[str, ...] = Field(POLICY_NAMES, min_length=1)
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    is_later_epoch: bool = False
    """Whether the problems were met before, so that something is remembered of each."""

    def bound_s(self, traces: Sequence[RolloutTrace]) -> float:
        """ConfigError if there is no schedule, as an engine has no room for the longest rollout."""
        cluster = self.cluster
        longest_tokens = max(trace.prompt_tokens + trace.max_response_tokens for trace in traces)
        if cluster.kv_tokens < longest_tokens:
            raise ConfigError(
                f"an engine of {cluster.devices_per_engine} x {cluster.accelerator} has room for "
                f"{cluster.kv_tokens} tokens, and a rollout may need {longest_tokens}: "
                "raise cluster.devices_per_engine or cluster.memory_share, or take a larger accelerator"
            )
        return lower_bound_s(
            traces, cluster.times, kv_tokens=cluster.kv_tokens, num_engines=cluster.num_engines
        )

    def policy(self, name: str, earlier: Sequence[RolloutTrace] = ()) -> Policy:
        """A policy that has seen how long the rollouts of an earlier step were."""
        lengths = learned_lengths(earlier)
        return make_policy(name, self.cluster.num_engines, costs=self.cluster.costs, lengths=lengths)

    def play(self, policy: Policy, traces: Sequence[RolloutTrace]) -> Outcome:
        cluster = self.cluster
        engines = [
            SimulatedEngine(
                cluster.times,
                kv_tokens=cluster.kv_tokens,
                prefill_chunk_tokens=cluster.prefill_chunk_tokens,
                max_rows=cluster.max_rows,
            )
            for _ in range(cluster.num_engines)
        ]
        return Cluster(engines, policy).run(traces)

    def earlier_step(self, workload: Workload, seed: int) -> tuple[RolloutTrace, ...]:
        """The step that the lengths of this one are learned from."""
        same_ids = [f"p{seed}-{n}" for n in range(workload.num_problems)] if self.is_later_epoch else None
        return draw_step(workload, seed=seed + _EARLIER, problem_ids=same_ids)


def learned_lengths(traces: Sequence[RolloutTrace]) -> Lengths:
    """What a policy knows after a step that consisted of these rollouts."""
    lengths = Lengths()
    if not traces:
        return lengths
    limit = traces[0].max_response_tokens
    lengths_of: dict[str, list[int]] = {}
    for trace in traces:
        lengths_of.setdefault(trace.problem_id, []).append(trace.response_tokens)
    for _ in range(2):  # the first time there are no classes yet that a problem could be remembered by
        beliefs = lengths.beliefs(limit)
        for problem_id, response_tokens in lengths_of.items():
            for tokens in response_tokens:
                beliefs.observe_end(beliefs.index(problem_id), 0, tokens)
        lengths.learn(beliefs, lengths_of, limit)
    return lengths


def load_scenario(path: Path) -> Scenario:
    """ConfigError names what is wrong."""
    return load_section(Scenario, path)
