"""A whole run: all of its sections, and the rules that span them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rstar2.config.learning import (
    LearnerSection,
    ModelSection,
    PretrainingSection,
    RocSection,
    SftSection,
    StageSection,
)
from rstar2.config.planning import ClusterSection, PlanSection
from rstar2.config.playing import EngineSection, RolloutSection, SandboxSection, ToolsSection
from rstar2.config.section import Section
from rstar2.config.task import ProblemsSection, ProtocolSection
from rstar2.config.tracking import TrackingSection

HeldOut = Literal["test", "validation"]
"""Problems that are never trained on."""


class RunSection(Section):
    seed: int = 0
    threads: int = Field(0, ge=0)
    """CPU threads of torch; 0 means one per core. Part of what fixes the bits of a run."""
    reproducible: bool = True
    """Deliver tool results at fixed engine steps, so that a run repeats bit by bit on CPU."""
    tool_delay_steps: int = Field(8, ge=1)
    """Engine steps between a tool call and its delivery when `reproducible`; long enough to hide it."""
    keep_checkpoints: int = Field(2, ge=1)
    checkpoint_every_s: float = Field(20.0, ge=0)
    """From a save to the next, which comes when the step under way has ended; 0 saves after every step. A
    kill loses about so much work at most, and the step or evaluation under way, which is done again."""
    save_rollouts: int = Field(32, ge=0)
    """Rollouts per step that are kept as readable text for the report."""


class EvaluationSection(Section):
    """How checkpoints are measured at every stage boundary."""

    rollouts: int = Field(1, ge=1)
    """Per problem; pass@1 is their mean."""
    temperature: float = Field(0.6, ge=0)
    """(paper)"""
    top_p: float = Field(1.0, gt=0, le=1)
    max_response_tokens: int = Field(30_720, ge=8)
    max_turns: int = Field(30, ge=1)
    split: HeldOut = "test"
    """`validation` while settings are being chosen, so that the test problems stay unseen."""


class RunConfig(Section):
    """A whole run."""

    run: RunSection = RunSection()
    problems: ProblemsSection = ProblemsSection()
    protocol: ProtocolSection = ProtocolSection()
    model: ModelSection = ModelSection()
    pretraining: PretrainingSection = PretrainingSection()
    sft: SftSection = SftSection()
    engine: EngineSection = EngineSection()
    rollout: RolloutSection = RolloutSection()
    sandbox: SandboxSection = SandboxSection()
    tools: ToolsSection = ToolsSection()
    roc: RocSection = RocSection()
    learner: LearnerSection = LearnerSection()
    evaluation: EvaluationSection = EvaluationSection()
    tracking: TrackingSection = TrackingSection()
    cluster: ClusterSection = ClusterSection()
    plan: PlanSection = PlanSection()
    stages: tuple[StageSection, ...] = ()

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        reserved = {"base", "sft"}
        if len(set(names)) < len(names) or reserved & set(names):
            raise ValueError(f"stage names must differ from each other and from base and sft: {names}")
        return self

    @model_validator(mode="after")
    def _every_stage_has_its_mean(self) -> Self:
        means, num_stages = len(self.plan.mean_response_tokens), len(self.stages)
        if means not in (0, num_stages):
            raise ValueError(f"plan.mean_response_tokens has {means} entries for {num_stages} stages")
        return self

    @model_validator(mode="after")
    def _old_rollouts_are_corrected_for(self) -> Self:
        if self.rollout.max_lag and self.learner.importance_cap is None:
            raise ValueError(
                f"rollout.max_lag = {self.rollout.max_lag} learns from rollouts of older weights: "
                "set learner.importance_cap (usually 2) to correct for it"
            )
        return self

    @model_validator(mode="after")
    def _versions_do_not_depend_on_time(self) -> Self:
        if self.rollout.max_lag > 1 and self.run.reproducible:
            raise ValueError(
                f"with rollout.max_lag = {self.rollout.max_lag} time decides which weights play a batch: "
                "set it to 1, or run.reproducible = false"
            )
        return self

    @model_validator(mode="after")
    def _demonstrations_have_their_tool(self) -> Self:
        offered = self.tools.enabled or self.tools.mcp
        if self.sft.steps and not self.sft.files and offered and "python" not in self.tools.enabled:
            raise ValueError(
                'generated demonstrations call Python: put "python" into tools.enabled, or offer no tools'
            )
        return self

    @model_validator(mode="after")
    def _sandbox_is_in_one_place(self) -> Self:
        if self.sandbox.urls and self.cluster.sandbox_nodes:
            raise ValueError(
                "programs run at sandbox.urls or on cluster.sandbox_nodes: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _weights_go_one_way(self) -> Self:
        if self.cluster.weights_folder and self.engine.weights == "broadcast":
            raise ValueError("a broadcast needs no cluster.weights_folder: remove it, or engine.weights")
        return self

    @model_validator(mode="after")
    def _adapters_have_a_base(self) -> Self:
        if self.learner.lora.rank and self.model.base == "tiny":
            raise ValueError("learner.lora adapts a trained model: set model.base to a folder or a Hub id")
        return self

    @model_validator(mode="after")
    def _ranks_save_memory(self) -> Self:
        cluster = self.cluster
        for key in ("offload_optimizer", "checkpoint_activations"):
            if getattr(cluster, key) and not self.learner.num_ranks:
                raise ValueError(
                    f"cluster.{key} is for a learner with ranks: set learner.num_ranks = 1, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _engines_sleep_only_when_nothing_plays(self) -> Self:
        if self.engine.sleeps_while_learning and self.rollout.max_lag:
            raise ValueError(
                f"with rollout.max_lag = {self.rollout.max_lag} engines work while the learner does: set it "
                "to 0, or engine.sleeps_while_learning = false"
            )
        return self

    @model_validator(mode="after")
    def _vllm_knows_the_heads(self) -> Self:
        """Those of the tiny model, which need not be a size that attention kernels are made for."""
        head_dim = self.model.tiny.head_dim
        if self.engine.kind == "vllm" and self.model.base == "tiny" and head_dim % 32:
            raise ValueError(
                f'engine.kind = "vllm" takes heads of 32, 64, 96, ..., not model.tiny.head_dim = {head_dim}: '
                "set it to 32 or 64"
            )
        return self

    @model_validator(mode="after")
    def _logprobs_are_of_all_tokens(self) -> Self:
        """vLLM reports them after top-p, where what is left counts more than it does for the learner."""
        for stage in self.stages:
            if self.engine.kind == "vllm" and stage.top_p < 1:
                raise ValueError(
                    'engine.kind = "vllm" reports log-probs after top_p, which the learner takes before it: '
                    f"set top_p = 1 for stage {stage.name} (evaluation.top_p is free)"
                )
        return self

    @model_validator(mode="after")
    def _one_rollout_fits(self) -> Self:
        longest = max((s.max_response_tokens for s in self.stages), default=0)
        longest = max(longest, self.evaluation.max_response_tokens)
        if longest >= self.engine.kv_tokens:
            raise ValueError(
                f"engine.kv_tokens ({self.engine.kv_tokens}) must exceed the longest response ({longest})"
            )
        return self
