"""The behaviour of one policy, or of a policy phase after phase, and what became different."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstar2.evaluation.behaviour.conduct import MEASURES, conduct
from rstar2.evaluation.behaviour.entropy import ScoredRollout
from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.evaluation.behaviour.tally import Uncertainty, uncertainty
from rstar2.evaluation.pass_at_k import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a phase's policy wrote, and what it thought of that."""

    phase: str
    rollouts: Sequence[RecordedRollout]
    scored: Sequence[ScoredRollout]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseBehaviour:
    """Figures of one phase."""

    phase: str
    num_rollouts: int
    num_tokenized_anew: int
    """Rollouts whose sampled tokens were not recorded."""
    uncertainty: Uncertainty
    conduct: Mapping[str, Estimate | None]
    """By the title of the measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a later phase does differently, on the problems that both were recorded on."""

    before: str
    after: str
    conduct: Mapping[str, Estimate | None]
    """After less before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """All phases in their order."""

    phases: tuple[PhaseBehaviour, ...]
    change: Change | None
    """None for a single phase."""


def behaviour(phases: Sequence[Played], *, seed: int) -> Behaviour:
    """All figures of the phases; the change is from SFT, where tool use begins, to the last one."""
    before = next((played for played in phases if played.phase == "sft"), phases[0])
    after = phases[-1]
    return Behaviour(
        phases=tuple(_phase_behaviour(played, seed) for played in phases),
        change=_change(before, after, seed) if before is not after else None,
    )


def _phase_behaviour(played: Played, seed: int) -> PhaseBehaviour:
    counts = [conduct(rollout) for rollout in played.rollouts]
    return PhaseBehaviour(
        phase=played.phase,
        num_rollouts=len(played.rollouts),
        num_tokenized_anew=sum(not rollout.has_sampled_tokens for rollout in played.rollouts),
        uncertainty=uncertainty(played.scored, seed=seed),
        conduct={measure.title: measure.of(counts, seed=seed) for measure in MEASURES},
    )


def _change(before: Played, after: Played, seed: int) -> Change:
    earlier, later = ([conduct(rollout) for rollout in played.rollouts] for played in (before, after))
    return Change(
        before=before.phase,
        after=after.phase,
        conduct={measure.title: measure.change(earlier, later, seed=seed) for measure in MEASURES},
    )
