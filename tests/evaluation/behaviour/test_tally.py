import math

import pytest

from rstar2.evaluation.behaviour.entropy import Kind, ScoredRollout, ScoredTurn
from rstar2.evaluation.behaviour.regions import Region
from rstar2.evaluation.behaviour.tally import uncertainty
from rstar2.types import ToolStatus

TEXT, CODE = Region.TEXT, Region.CODE
FIRST = ScoredTurn(
    pieces=("But", " so", "x", "y"),
    entropies_nats=(1.0, 0.2, 0.4, 0.0),
    regions=(TEXT, TEXT, CODE, CODE),
    kinds=(Kind.FORKING, None, Kind.CODE, None),
    after=None,
)


def answering(after: ToolStatus, *kinds: Kind | None) -> ScoredTurn:
    """A turn of words, each of one nat if it has a kind and else of none."""
    return ScoredTurn(
        pieces=("Oh",) * len(kinds),
        entropies_nats=tuple(1.0 if kind else 0.0 for kind in kinds),
        regions=(TEXT,) * len(kinds),
        kinds=kinds,
        after=after,
    )


REFLECTING = (Kind.REFLECTION,) * 3
ROLLOUTS = [
    ScoredRollout(problem_id="a", turns=(FIRST, answering(ToolStatus.OK, None, None))),
    ScoredRollout(
        problem_id="b",
        turns=(FIRST, answering(ToolStatus.EXCEPTION, *REFLECTING), answering(ToolStatus.OK, Kind.FORKING)),
    ),
]


def test_regions_by_hand():
    found = uncertainty(ROLLOUTS, seed=0)
    assert found.num_tokens == 14
    assert found.entropy_nats.value == pytest.approx((1.6 + 1.6 + 3 + 1) / 14)
    text, code = found.regions[TEXT], found.regions[CODE]
    assert (text.share.value, code.share.value) == (10 / 14, 4 / 14)
    assert text.entropy_nats.value == pytest.approx((1.2 + 1.2 + 3 + 1) / 10)
    assert code.entropy_nats.value == pytest.approx(0.8 / 4)
    assert (text.uncertain.value, code.uncertain.value) == (6 / 10, 2 / 4)
    assert found.regions[Region.ANSWER].share.value == 0.0
    assert found.regions[Region.ANSWER].entropy_nats is None


def test_kinds_by_hand():
    found = uncertainty(ROLLOUTS, seed=0).kinds
    shares = {kind: figures.share.value for kind, figures in found.items()}
    assert shares == {
        Kind.FORKING: 3 / 8, Kind.REFLECTION: 3 / 8, Kind.CODE: 2 / 8, Kind.ANSWER: 0.0, Kind.FORMAT: 0.0,
    }  # fmt: skip
    assert found[Kind.FORKING].frequent == (("But", 2), ("Oh", 1))
    assert found[Kind.REFLECTION].frequent == (("Oh", 3),)


def test_reactions_are_split_by_what_the_tool_said():
    found = uncertainty(ROLLOUTS, seed=0)
    success, error = found.after_success, found.after_error
    assert (success.num_turns, error.num_turns) == (2, 1)
    assert (success.reflecting.value, error.reflecting.value) == (0.0, 1.0)
    assert (success.reflection_tokens.value, error.reflection_tokens.value) == (0.0, 3.0)
    assert (success.entropy_nats.value, error.entropy_nats.value) == (1 / 3, 1.0)


def test_a_reaction_is_the_beginning_of_a_turn():
    turn = answering(ToolStatus.OK, *[Kind.FORKING] * 4, *[None] * 96)
    found = uncertainty([ScoredRollout(problem_id="a", turns=(turn,))], seed=0)
    assert found.after_success.entropy_nats.value == 4 / 16


def test_an_output_that_was_cut_is_a_success():
    turn = answering(ToolStatus.OUTPUT_LIMIT, None)
    assert uncertainty([ScoredRollout(problem_id="a", turns=(turn,))], seed=0).after_error.num_turns == 0


def test_the_interval_is_over_problems():
    other = ScoredRollout(problem_id="c", turns=(answering(ToolStatus.OK, None, None, None, None),))
    found = uncertainty([*ROLLOUTS, other], seed=0).entropy_nats
    assert found.low == 0.0  # a draw of problem c alone
    assert found.low < found.value < found.high <= math.nextafter(5.6 / 8, 1)
