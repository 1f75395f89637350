"""What learns, and how: the model, its supervised phases, RoC, the optimizer and the RL stages."""

from math import ceil
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from rstar2.config.section import Section
from rstar2.ports import OptimizerKind

Momentum: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""Share of a moving average that each step keeps."""


class TinyModel(Section):
    """Shape of a model that is built from nothing."""

    hidden_size: int = Field(192, ge=1)
    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(4, ge=1)
    num_kv_heads: int = Field(2, ge=1)
    head_dim: int = Field(48, ge=2, multiple_of=2)
    """Even: rotary positions turn its values in pairs."""
    intermediate_size: int = Field(512, ge=1)
    vocab_size: int = Field(640, ge=1)
    max_positions: int = Field(2048, ge=1)
    initial_std: float = Field(0.06, gt=0)
    """Of the random weights; about 1/sqrt(hidden_size), as 0.02 makes a narrow model start slowly."""

    @model_validator(mode="after")
    def _heads_share_keys_evenly(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads})"
            )
        return self


class ModelSection(Section):
    base: str = "tiny"
    """`tiny` builds and pre-trains a model from random numbers; else a checkpoint folder or Hub id."""
    tiny: TinyModel = TinyModel()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """That the checkpoint is read in. Masters are float32; a base under adapters stays so, in one process."""


class AttemptMixture(Section):
    """Relative weights of attempts in generated text; they need not sum to 1."""

    right: float = Field(0.25, ge=0)
    wrong: float = Field(0.4, ge=0)
    broken: float = Field(0.35, ge=0)

    @model_validator(mode="after")
    def _some_are_made(self) -> Self:
        if not self.right + self.wrong + self.broken:
            raise ValueError("right, wrong and broken are all 0: give at least one of them a weight")
        return self


class PretrainingSection(Section):
    """The generated text that stands in for pre-training, and how the tiny base reads it."""

    steps: int = Field(800, ge=0)
    documents_per_step: int = Field(64, ge=1)
    lr: float = Field(3e-3, gt=0)
    warmup_steps: int = Field(40, ge=0)
    optimizer: OptimizerKind = OptimizerKind.MUON
    copy_share: float = Field(0.4, ge=0, le=1)
    """Of documents: copying drills; the others are worked problems."""
    num_problems: int = Field(4000, ge=1)
    mixture: AttemptMixture = AttemptMixture()
    seed: int = 0
    """Fixes the base; independent of the run's seed, so that runs share a cached base."""


class SftSection(Section):
    """Non-reasoning supervised fine-tuning (paper 4.1): format and tool calls, no problem solving."""

    steps: int = Field(100, ge=0)
    epochs: int = Field(0, ge=0)
    """Passes over `files` in place of `steps`, unless 0 (paper: 3)."""
    samples_per_step: int = Field(64, ge=1)
    """(paper: 128)"""
    lr: float = Field(1e-3, gt=0)
    """Its highest (paper: 5e-6)."""
    warmup_steps: int = Field(10, ge=0)
    warmup_share: float = Field(0.0, ge=0, lt=1)
    """Of all steps, in place of `warmup_steps`, unless 0 (paper: 0.04)."""
    decay: Literal["linear", "cosine"] = "linear"
    """After the warm-up: in a line to a twentieth, or along half a cosine to 0 (paper)."""
    mixture: AttemptMixture = AttemptMixture()
    malformed_share: float = Field(0.1, ge=0, le=1)
    """Of generated demonstrations: calls that are not well-formed."""
    retry_share: float = Field(0.5, ge=0, le=1)
    """Of failed calls in them: followed by another; the others end in a made-up answer."""
    mended_share: float = Field(0.0, ge=0, le=1)
    """Of these second calls: right, whatever the mixture. As high as this, an error costs little."""
    files: tuple[str, ...] = ()
    """JSONL in the usual chat+tools form, used instead of generated demonstrations."""
    max_tokens: int = Field(1024, ge=16)
    """Longer conversations are left out."""

    @model_validator(mode="after")
    def _epochs_are_of_files(self) -> Self:
        if self.epochs and not self.files:
            raise ValueError("epochs are passes over files: name sft.files, or give sft.steps instead")
        return self

    def num_steps(self, num_conversations: int) -> int:
        """Optimizer steps, if the files hold so many conversations."""
        return ceil(self.epochs * num_conversations / self.samples_per_step) if self.epochs else self.steps


class RocSection(Section):
    mode: Literal["weighted", "topk", "random", "off"] = "topk"
    """`weighted`: the paper's text; `topk`: the release; `random` and `off`: ablations."""
    epsilon: float = Field(0.1, gt=0)
    min_each: int = Field(2, ge=0)
    """Of each sign, where available (release)."""
    use_error_penalty: bool = True
    use_format_penalty: bool = True


class LoraSection(Section):
    """Low-rank adapters: the base stays as it is, small matrices beside it learn."""

    rank: int = Field(0, ge=0)
    """Of each adapter; 0 trains the weights themselves, as the paper does."""
    alpha: int = Field(32, ge=1)
    """Adapters count alpha / rank."""
    targets: tuple[str, ...] = ()
    """Linear layers that are adapted, as in `q_proj`; all but the output's by default."""


class LearnerSection(Section):
    num_ranks: int = Field(0, ge=0)
    """Processes that the weights, gradients and moments are cut over (FSDP2); 0 learns in this process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it computes; `auto` takes a GPU if there is one. With ranks, each takes one GPU."""
    hang_limit_s: float = Field(1800.0, gt=0)
    """Ranks that take longer over a step, or over reading or writing a checkpoint, are ended, and the run
    goes on from its last checkpoint. The longest step of the paper's run is planned at 9 minutes."""
    micro_batch_tokens: int = Field(8192, ge=64)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """AdamW (release)."""
    weight_decay: float = Field(0.01, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    clip_low: float = Field(0.2, ge=0, lt=1)
    """(paper)"""
    clip_high: float = Field(0.28, ge=0)
    """Clip-Higher (paper)"""
    importance_cap: float | None = Field(None, gt=0)
    """Cap of the truncated importance weight against engine/learner mismatch; none by default."""
    logprob_chunk_tokens: int = Field(2048, ge=1)
    lora: LoraSection = LoraSection()
    bf16: bool = False
    """Compute in bfloat16 where it pays; master weights and reductions stay as they are."""


class ExitRule(Section):
    """When a stage ends before its last step; each condition is off at its default."""

    all_correct_share: float = Field(1.0, ge=0, le=1)
    """Leave when more than this share of groups is all-correct (paper, stage 2: 0.7)."""
    plateau_steps: int = Field(0, ge=0)
    """Leave when the mean reward has not risen over so many steps (paper, stage 1: flat)."""
    window_steps: int = Field(5, ge=1)
    """Over which shares and rewards are averaged."""


class StageSection(Section):
    """One RL stage."""

    name: str = Field(pattern=r"^[\w-]+$")
    """Also of a folder: letters, digits, - and _."""
    steps: int = Field(ge=1)
    problems_per_step: int = Field(32, ge=1)
    """(paper: 512)"""
    oversample: int = Field(32, ge=2)
    """Rollouts per problem, 2G (paper: 32)."""
    group_size: int = Field(16, ge=2)
    """Kept by RoC, G (paper: 16)."""
    max_response_tokens: int = Field(8192, ge=8)
    """Prompt-exclusive; tool responses count."""
    max_turns: int = Field(10, ge=1)
    updates: int = Field(1, ge=1)
    """Optimizer steps per batch, each on an equal share of its groups (release: 1; the paper does not say).
    The old policy is the one before the first: with one update it is the current one and the loss never
    clips; with more, the shares of the others are scored before it."""
    lr: float = Field(1e-6, gt=0)
    warmup_steps: int = Field(20, ge=0)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    problems: Literal["all", "unmastered"] = "all"
    """`unmastered`: those that the policy at the stage's start does not solve every time."""
    mastery_rollouts: int = Field(8, ge=1)
    """Attempts per problem that decide mastery (paper: 8 of 8)."""
    mastery_problems: int | None = Field(None, ge=1)
    """At most so many problems are probed for mastery; all by default."""
    reset_optimizer: bool = False
    exit: ExitRule = ExitRule()

    @model_validator(mode="after")
    def _oversamples(self) -> Self:
        if self.group_size > self.oversample:
            raise ValueError(f"group_size ({self.group_size}) must not exceed oversample ({self.oversample})")
        return self
