"""The machines of a run, and what is expected of its rollouts.

`rstar2 plan` turns both into memory and time before anything starts; `rstar2 train --cluster` books what
`[cluster]` says. No job reads `[plan]`.
"""

from pydantic import Field

from rstar2.config.section import Section


class ClusterSection(Section):
    """The machines, and how engines, learner and sandbox are laid out on them."""

    accelerator: str = "cpu-2-cores"
    """A name in `profiles/accelerators.toml`; where it is a CPU, a job books cores alone."""
    num_accelerators: int = Field(1, ge=1)
    accelerators_per_engine: int = Field(1, ge=1)
    """Tensor parallelism: so many hold one engine together (release: 4)."""
    colocated: bool = True
    """Engines and learner take turns on the same accelerators (paper, release); else each has its own."""
    engine_memory_share: float = Field(0.8, gt=0, le=1)
    """Of an accelerator's memory while it generates: weights, KV and a waiting learner (release)."""
    offload_optimizer: bool = False
    """Master weights and moments stay in the memory of the host (release: no)."""
    checkpoint_activations: bool = False
    """Keep one activation per layer and compute the rest again in backward (release: yes). This one and
    `offload_optimizer` need ranks (`learner.num_ranks`)."""
    network_bytes_per_s: float = Field(50e9, gt=0)
    """Of an accelerator to other nodes, one direction; 50e9 is a 400 Gb/s adapter."""
    host_memory_bytes: float = Field(200e9, gt=0)
    """Per accelerator."""
    cpus_per_engine: float = Field(1.0, gt=0)
    """Cores that the process of an engine books."""
    cpus_per_rank: float = Field(1.0, gt=0)
    """Of a rank of the learner."""
    sandbox_nodes: int = Field(0, ge=0)
    """Sandbox servers, spread over the machines, with `sandbox.workers` each; 0 leaves it to `[sandbox]`."""
    cpus_per_sandbox_node: float = Field(1.0, gt=0)
    weights_folder: str = ""
    """Where engines read new weights, the same path on every machine; by default below the run's folder."""


class PlanSection(Section):
    """What is expected of the rollouts; the defaults are the paper's, or assumed where it says nothing."""

    mean_response_tokens: tuple[int, ...] = ()
    """Per stage, over its steps; half of the stage's limit by default."""
    clip_share: float = Field(0.1, gt=0, lt=1)
    """Of rollouts, those that reach the limit (paper, stage 1)."""
    calls_per_rollout: float = Field(2.75, ge=0)
    """(paper 3.1)"""
    tool_s: float = Field(0.3, gt=0)
    """Of one call (paper 3.1)."""
    grading_s: float = Field(0.05, gt=0)
    """Of one reward; assumed."""
    prompt_tokens: int = Field(450, ge=1)
    """Assumed."""
    kept_groups_share: float = Field(0.7, gt=0, le=1)
    """Of groups, those that are neither all right nor all wrong; assumed (paper: below 0.3 after stage 2)."""
    sft_conversations: int = Field(222_000, ge=1)
    """In the files of `[sft]`, for a plan in epochs (paper 4.1)."""
    sft_sample_tokens: int = Field(1000, ge=1)
    """Of one SFT sample, prompt included; assumed."""
    document_tokens: int = Field(50, ge=1)
    """Of one pre-training document of the tiny base."""
