"""How uncertain a policy is, and where: figures over many scored rollouts, with intervals over problems."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rstar2.evaluation.behaviour.entropy import Kind, ScoredRollout, ScoredTurn
from rstar2.evaluation.behaviour.ratios import ratio
from rstar2.evaluation.behaviour.regions import Region
from rstar2.evaluation.pass_at_k import Estimate

OPENING_TOKENS = 16
"""How much of a turn counts as the reaction to the response that it answers."""
_NUM_FREQUENT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFigures:
    """All tokens of one region; None where there are no tokens."""

    share: Estimate | None
    """Of all tokens that the model wrote."""
    entropy_nats: Estimate | None
    """Mean per token."""
    uncertain: Estimate | None
    """Share of its tokens that are among the uncertain ones of their rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFigures:
    """The uncertain tokens of one kind."""

    share: Estimate | None
    """Of all uncertain tokens."""
    frequent: tuple[tuple[str, int], ...]
    """The texts that stand there most often, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionFigures:
    """Turns that answer a tool's response; None without such turns."""

    num_turns: int
    entropy_nats: Estimate | None
    """Mean of their first 16 tokens, whatever region these are in."""
    reflecting: Estimate | None
    """Share of the turns with a dense run of reflection tokens."""
    reflection_tokens: Estimate | None
    """Mean per turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """One policy on one set of rollouts."""

    num_tokens: int
    """That a model wrote."""
    entropy_nats: Estimate | None
    regions: Mapping[Region, RegionFigures]
    kinds: Mapping[Kind, KindFigures]
    after_success: ReactionFigures
    after_error: ReactionFigures


def uncertainty(rollouts: Sequence[ScoredRollout], *, seed: int) -> Uncertainty:
    """All figures; the intervals' draws depend on `seed` alone."""
    return Uncertainty(
        num_tokens=round(sum(map(_num_tokens, rollouts))),
        entropy_nats=ratio(rollouts, _entropy_nats, _num_tokens, seed=seed),
        regions={region: _region_figures(rollouts, region, seed) for region in Region},
        kinds={kind: _kind_figures(rollouts, kind, seed) for kind in Kind},
        after_success=_reactions(rollouts, is_error=False, seed=seed),
        after_error=_reactions(rollouts, is_error=True, seed=seed),
    )


def _num_tokens(rollout: ScoredRollout) -> float:
    return sum(len(turn.pieces) for turn in rollout.turns)


def _entropy_nats(rollout: ScoredRollout) -> float:
    return sum(sum(turn.entropies_nats) for turn in rollout.turns)


def _num_uncertain(rollout: ScoredRollout) -> float:
    return sum(kind is not None for turn in rollout.turns for kind in turn.kinds)


def _region_figures(rollouts: Sequence[ScoredRollout], region: Region, seed: int) -> RegionFigures:
    def count(rollout: ScoredRollout) -> float:
        return sum(turn.regions.count(region) for turn in rollout.turns)

    def entropy_nats(rollout: ScoredRollout) -> float:
        return sum(entropy for turn in rollout.turns for entropy, _ in _inside(turn, region))

    def uncertain(rollout: ScoredRollout) -> float:
        return sum(kind is not None for turn in rollout.turns for _, kind in _inside(turn, region))

    return RegionFigures(
        share=ratio(rollouts, count, _num_tokens, seed=seed),
        entropy_nats=ratio(rollouts, entropy_nats, count, seed=seed),
        uncertain=ratio(rollouts, uncertain, count, seed=seed),
    )


def _inside(turn: ScoredTurn, region: Region) -> Iterator[tuple[float, Kind | None]]:
    tokens = zip(turn.entropies_nats, turn.kinds, turn.regions, strict=True)
    return ((entropy, kind) for entropy, kind, found in tokens if found is region)


def _kind_figures(rollouts: Sequence[ScoredRollout], kind: Kind, seed: int) -> KindFigures:
    texts = Counter(
        piece
        for rollout in rollouts
        for turn in rollout.turns
        for piece, found in zip(turn.pieces, turn.kinds, strict=True)
        if found is kind
    )
    return KindFigures(
        share=ratio(rollouts, lambda r: sum(t.kinds.count(kind) for t in r.turns), _num_uncertain, seed=seed),
        frequent=tuple(texts.most_common(_NUM_FREQUENT)),
    )


def _reactions(rollouts: Sequence[ScoredRollout], *, is_error: bool, seed: int) -> ReactionFigures:
    def total(of_turn: Callable[[ScoredTurn], float]) -> Callable[[ScoredRollout], float]:
        return lambda rollout: sum(
            of_turn(t) for t in rollout.turns if t.after is not None and t.after.is_error is is_error
        )

    num_turns = total(lambda _: 1)
    return ReactionFigures(
        num_turns=round(sum(map(num_turns, rollouts))),
        entropy_nats=ratio(
            rollouts,
            total(lambda t: sum(t.entropies_nats[:OPENING_TOKENS])),
            total(lambda t: len(t.entropies_nats[:OPENING_TOKENS])),
            seed=seed,
        ),
        reflecting=ratio(rollouts, total(lambda t: Kind.REFLECTION in t.kinds), num_turns, seed=seed),
        reflection_tokens=ratio(
            rollouts, total(lambda t: t.kinds.count(Kind.REFLECTION)), num_turns, seed=seed
        ),
    )
