"""Which tokens a policy was uncertain about, and of which kind they are.

The entropy of a token is that of the distribution it was drawn from: H = -sum_v p_v ln p_v, in nats, with
p = softmax(logits / temperature). Uncertain are the 20 % of highest entropy within each rollout, among what
the model wrote (section 5.4, arXiv:2508.20722). Kinds follow from where a token stands:

    forking      in the model's own words
    reflection   there too, but in a dense run right after a tool's response
    code, answer, format    in these regions

The paper names forking and reflection tokens without a rule that tells them apart; the rule of `dense_runs`
is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.evaluation.behaviour.regions import Region, regions, token_texts
from rstar2.ports import Tokenizer
from rstar2.types import ToolStatus

UNCERTAIN_SHARE = 0.2
_LONGEST_GAP_TOKENS = 2
"""Certain tokens between two uncertain ones of a dense run: it is uncertain to a third, or more."""
_FEWEST_UNCERTAIN_TOKENS = 3
_LATEST_START_TOKENS = 8
"""A run that begins later than this is not a reaction to the response any more."""


class Kind(StrEnum):
    """What an uncertain token is."""

    FORKING = "forking"
    REFLECTION = "reflection"
    CODE = "code"
    ANSWER = "answer"
    FORMAT = "format"


_KIND_OF_REGION = {
    Region.TEXT: Kind.FORKING,
    Region.CODE: Kind.CODE,
    Region.ANSWER: Kind.ANSWER,
    Region.FORMAT: Kind.FORMAT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTurn:
    """A turn token by token; all four sequences are of one length."""

    pieces: tuple[str, ...]
    entropies_nats: tuple[float, ...]
    regions: tuple[Region, ...]
    kinds: tuple[Kind | None, ...]
    """None for tokens that are not uncertain."""
    after: ToolStatus | None
    """Of the call whose response it answers; None in a first turn."""

    def __post_init__(self) -> None:
        assert len(self.pieces) == len(self.entropies_nats) == len(self.regions) == len(self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRollout:
    """What a policy thought of the tokens of one rollout that a model wrote."""

    problem_id: str
    turns: tuple[ScoredTurn, ...]


def scored(
    rollout: RecordedRollout,
    entropies_nats: Sequence[float],
    tokenizer: Tokenizer,
    *,
    uncertain_share: float = UNCERTAIN_SHARE,
) -> ScoredRollout:
    """The rollout with the entropy of every token but its first, which nothing comes before."""
    assert len(entropies_nats) == len(rollout.token_ids) - 1
    begins = [turn.start - 1 for turn in rollout.turns]
    written = [
        tuple(entropies_nats[begin : begin + len(turn.token_ids)])
        for begin, turn in zip(begins, rollout.turns, strict=True)
    ]
    is_uncertain = iter(highest([entropy for turn in written for entropy in turn], uncertain_share))
    end_of_turn = tokenizer.decode([tokenizer.eos_token_id])
    turns = []
    after: ToolStatus | None = None
    for turn, entropies in zip(rollout.turns, written, strict=True):
        pieces = token_texts(tokenizer, turn.token_ids)
        found = regions(pieces, end_of_turn=end_of_turn)
        flags = [next(is_uncertain) for _ in pieces]
        turns.append(
            ScoredTurn(
                pieces=tuple(pieces),
                entropies_nats=entropies,
                regions=found,
                kinds=kinds(found, flags, answers_response=after is not None),
                after=after,
            )
        )
        after = turn.status
    return ScoredRollout(problem_id=rollout.problem_id, turns=tuple(turns))


def highest(values: Sequence[float], share: float) -> list[bool]:
    """Which are the highest `share` of the values, rounded, at least one; of equal ones, the earlier."""
    count = max(1, round(share * len(values)))
    chosen = set(sorted(range(len(values)), key=lambda place: -values[place])[:count])
    return [place in chosen for place in range(len(values))]


def kinds(
    of_tokens: Sequence[Region], is_uncertain: Sequence[bool], *, answers_response: bool
) -> tuple[Kind | None, ...]:
    """The kind of every uncertain token of a turn."""
    text = [place for place, region in enumerate(of_tokens) if region is Region.TEXT]
    runs = dense_runs([is_uncertain[place] for place in text]) if answers_response else []
    reacting = {text[number] for run in runs if run.start < _LATEST_START_TOKENS for number in run}
    return tuple(
        None if not flag else Kind.REFLECTION if place in reacting else _KIND_OF_REGION[region]
        for place, (region, flag) in enumerate(zip(of_tokens, is_uncertain, strict=True))
    )


def dense_runs(is_uncertain: Sequence[bool]) -> list[range]:
    """Stretches of three uncertain tokens or more, with at most two certain ones between any two of them."""
    places = [place for place, flag in enumerate(is_uncertain) if flag]
    breaks = [n for n, (a, b) in enumerate(pairwise(places), start=1) if b - a > _LONGEST_GAP_TOKENS + 1]
    stretches = [places[a:b] for a, b in pairwise([0, *breaks, len(places)])]
    return [range(s[0], s[-1] + 1) for s in stretches if len(s) >= _FEWEST_UNCERTAIN_TOKENS]
