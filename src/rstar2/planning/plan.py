"""From a config to a plan: does it fit, how many rollouts run at a time, how long it takes.

Pure: reads no machine. Not here: where things lie (layout.py), and what to change (advice.py).
"""

from dataclasses import dataclass

from rstar2.config import RunConfig, StageSection
from rstar2.planning.duration import (
    EngineGroup,
    LearnerGroup,
    StepDuration,
    engines_s,
    learned_tokens,
    learner_s,
    publish_s,
    sandbox_s,
    supervised_s,
)
from rstar2.planning.layout import Layout, MemoryPlan, make_layout, memory_plan
from rstar2.profiles import Accelerator, ModelShape
from rstar2.rollout.simulation.step_times import step_times
from rstar2.rollout.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One RL stage."""

    name: str
    num_steps: int
    mean_response_tokens: float
    max_response_tokens: int
    rollouts_at_mean: int
    """At a time over all engines, if each held the mean response in full."""
    rollouts_at_limit: int
    """At a time over all engines, if each reserves its longest response."""
    step: StepDuration
    probing_s: float | None
    """Before the first step: which problems are mastered. None if it is not known how many are tried."""

    @property
    def steps_s(self) -> float:
        return self.num_steps * self.step.step_s

    @property
    def total_s(self) -> float:
        return self.steps_s + (self.probing_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run needs."""

    accelerator: Accelerator
    memory: MemoryPlan
    supervised_s: tuple[tuple[str, float], ...]
    """(phase, all of its steps)."""
    stages: tuple[StagePlan, ...]

    @property
    def fits(self) -> bool:
        return self.memory.fits

    @property
    def total_s(self) -> float:
        return sum(seconds for _, seconds in self.supervised_s) + sum(stage.total_s for stage in self.stages)


def make_plan(config: RunConfig, model: ModelShape) -> Plan:
    """What `config` needs with a policy of this shape; ConfigError if the layout is impossible."""
    layout = make_layout(config, model)
    return Plan(
        accelerator=layout.device,
        memory=memory_plan(layout),
        supervised_s=_supervised(config, _learner_group(config, layout)),
        stages=tuple(_stage(config, layout, stage, n) for n, stage in enumerate(config.stages)),
    )


def _learner_group(config: RunConfig, layout: Layout) -> LearnerGroup:
    return LearnerGroup(
        shape=layout.learner,
        accelerator=layout.device,
        network_bytes_per_s=config.cluster.network_bytes_per_s,
    )


def _supervised(config: RunConfig, learner: LearnerGroup) -> tuple[tuple[str, float], ...]:
    """Pre-training of the tiny base, and SFT."""
    plan, pretraining, sft = config.plan, config.pretraining, config.sft
    base_s = pretraining.steps * supervised_s(
        learner, num_samples=pretraining.documents_per_step, sample_tokens=plan.document_tokens
    )
    sft_s = sft.num_steps(plan.sft_conversations) * supervised_s(
        learner, num_samples=sft.samples_per_step, sample_tokens=plan.sft_sample_tokens
    )
    return (*((("base", base_s),) if config.model.base == "tiny" else ()), ("sft", sft_s))


def stage_workload(config: RunConfig, stage: StageSection, index: int) -> Workload:
    """What is expected of the stage's rollouts, over its steps."""
    plan, limit = config.plan, stage.max_response_tokens
    return Workload(
        name=stage.name,
        mean_response_tokens=plan.mean_response_tokens[index] if plan.mean_response_tokens else limit / 2,
        max_response_tokens=limit,
        clip_share=plan.clip_share,
        num_problems=stage.problems_per_step,
        rollouts_per_problem=stage.oversample,
        max_turns=stage.max_turns,
        calls_per_rollout=plan.calls_per_rollout,
        tool_mean_s=plan.tool_s,
        tool_limit_s=config.sandbox.time_limit_s,
        prompt_tokens=plan.prompt_tokens,
    )


def _stage(config: RunConfig, layout: Layout, stage: StageSection, index: int) -> StagePlan:
    workload = stage_workload(config, stage, index)
    kv_tokens = config.engine.kv_tokens

    def rollouts(response_tokens: float) -> int:
        by_room = int(kv_tokens // (workload.prompt_tokens + response_tokens))
        return min(by_room, config.engine.max_running) * layout.num_engines

    step = _step(config, layout, workload, stage)
    return StagePlan(
        name=stage.name,
        num_steps=stage.steps,
        mean_response_tokens=workload.mean_response_tokens,
        max_response_tokens=workload.max_response_tokens,
        rollouts_at_mean=rollouts(workload.mean_response_tokens),
        rollouts_at_limit=rollouts(workload.max_response_tokens),
        step=step,
        probing_s=_probing_s(config, stage, step),
    )


def _probing_s(config: RunConfig, stage: StageSection, step: StepDuration) -> float | None:
    """Rollouts at the rate of a step's, and new weights as often: batches are about as large."""
    if stage.problems == "all":
        return 0.0
    known = [size for size in (config.problems.num_train, stage.mastery_problems) if size is not None]
    if not known:
        return None
    num_rollouts = min(known) * stage.mastery_rollouts
    return num_rollouts / (stage.problems_per_step * stage.oversample) * (step.rollouts_s + step.publish_s)


def _sandbox_workers(config: RunConfig) -> int:
    """Of all nodes, if the run has sandbox nodes."""
    return config.sandbox.workers * max(1, config.cluster.sandbox_nodes)


def _step(config: RunConfig, layout: Layout, workload: Workload, stage: StageSection) -> StepDuration:
    engine, learner = layout.engine, _learner_group(config, layout)
    engines = EngineGroup(
        times=step_times(engine.model, layout.device, num_devices=engine.num_devices),
        num_engines=layout.num_engines,
        engines_per_device=layout.engines_per_device,
        kv_tokens=engine.kv_tokens,
        max_running=engine.max_running,
    )
    generate_s, tail_s = engines_s(workload, engines)
    num_tokens, context_tokens = learned_tokens(
        workload,
        group_size=stage.oversample if config.roc.mode == "off" else stage.group_size,
        kept_share=config.plan.kept_groups_share,
    )
    is_alone = config.cluster.num_accelerators == 1
    return StepDuration(
        on_one_host=layout.device.is_host,
        is_overlapped=config.rollout.max_lag > 0 and not layout.colocated,
        engines_s=generate_s,
        tail_s=tail_s,
        sandbox_s=sandbox_s(workload, num_workers=_sandbox_workers(config), grading_s=config.plan.grading_s),
        learner_s=learner_s(
            learner, num_tokens=num_tokens, context_tokens=context_tokens, num_updates=stage.updates
        ),
        publish_s=publish_s(
            engine.model,
            bytes_per_value=learner.shape.master_bytes,
            bytes_per_s=layout.device.bandwidth_bytes_per_s if is_alone else learner.exchange_bytes_per_s,
        ),
    )
