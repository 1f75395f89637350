"""Everything a run decided so far, as JSON: with the weights and the optimizer, all that a resume needs.

There are no random states in it: every draw is seeded by the name of what it is for (phase, step,
problem, index), so a step repeats itself wherever it is started from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rstar2.training.sampler import SamplerState
from rstar2.training.stages import StepOutcome


@dataclass(slots=True, kw_only=True)
class RunState:
    phase: int = 0
    """Index into base, sft and the stages."""
    step: int = 0
    """Optimizer steps done in this phase."""
    total_steps: int = 0
    """Optimizer steps of all phases: numbers checkpoints and weight versions."""
    phase_wall_s: float = 0.0
    """Time spent in this phase, over all its attempts."""
    sampler: SamplerState = field(default_factory=SamplerState)
    history: list[StepOutcome] = field(default_factory=list)
    """Of this stage."""
    stage_problems: list[str] | None = None
    """Ids that the curriculum chose for this stage, so far; None for all."""
    num_probed: int = 0
    """Problems that this stage has tried for mastery."""
    num_probes: int = 0
    """Batches of them, of all stages."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One summary row per finished phase."""
    lengths: dict[str, Any] = field(default_factory=dict)
    """What placement has learned of response lengths; it decides who shares a batch, and so the last bits."""
    vocabulary: str = ""
    """Hash of what the ids mean that the weights learned; empty in states of older versions."""
    metrics_bytes: int = 0
    rollouts_bytes: int = 0
    timeline_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["sampler"]["consumed"] = sorted(self.sampler.consumed)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunState":
        fields = dict(data)
        sampler = fields["sampler"]
        fields["sampler"] = SamplerState(epoch=sampler["epoch"], consumed=frozenset(sampler["consumed"]))
        fields["history"] = [StepOutcome(**outcome) for outcome in fields["history"]]
        return cls(**fields)
