"""A claim is an inequality; whether it holds is worked out by hand here."""

from pathlib import Path

import pytest

from rstar2.config import load_config
from rstar2.evaluation.pass_at_k import bootstrap
from rstar2.reproduction.arms import arms_of
from rstar2.reproduction.claims import Claim, Verdict, claims
from rstar2.reproduction.contrasts import Cell

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce.toml"
HALF = Claim(text="halves", arm="a", rival="b", measure="errors", factor=0.5)
NOT_LOWER = Claim(text="not lower", arm="a", rival="b", measure="pass", more=True, margin=0.01)


def cells(*pairs: tuple[float, float]) -> tuple[Cell, Cell]:
    arm, rival = zip(*pairs, strict=True)
    return Cell(values=dict(enumerate(arm))), Cell(values=dict(enumerate(rival)))


def test_the_excess_is_what_is_too_much_of_it() -> None:
    assert HALF.excess(*cells((0.06, 0.10), (0.02, 0.10))).value == pytest.approx(-0.01)
    assert NOT_LOWER.excess(*cells((0.92, 0.91), (0.90, 0.90))).value == pytest.approx(-0.015)


@pytest.mark.parametrize(
    ("claim", "pairs", "verdict"),
    [
        # Of -1 or -0.5 points, twice each: mean -0.75, s 0.2887, t(0.975, 3) 3.182, so +- 0.459.
        (HALF, [(0.040, 0.10), (0.045, 0.10)], Verdict.HOLDS),
        (HALF, [(0.040, 0.10), (0.049, 0.10)], Verdict.OPEN),
        (HALF, [(0.060, 0.10), (0.055, 0.10)], Verdict.FAILS),
        (NOT_LOWER, [(0.90, 0.905), (0.90, 0.90)], Verdict.HOLDS),
        (NOT_LOWER, [(0.90, 0.905), (0.95, 0.90)], Verdict.OPEN),
        (NOT_LOWER, [(0.90, 0.92), (0.875, 0.90)], Verdict.FAILS),
    ],
)
def test_a_claim_holds_or_fails_only_if_the_interval_says_so(
    claim: Claim, pairs: list[tuple[float, float]], verdict: Verdict
) -> None:
    assert claim.verdict(*cells(*pairs, *pairs)) is verdict


def test_five_seeds_that_a_bootstrap_takes_for_certain_are_open() -> None:
    """Means of resampled seeds end at -0.2, Student's interval at -1.2 + 2.776 * 1.351 / sqrt(5) = 0.48."""
    excess = (-3.0, -2.0, -1.0, -0.5, 0.5)
    assert bootstrap(excess, seed=0).high < 0
    assert HALF.verdict(*cells(*((d, 0.0) for d in excess))) is Verdict.OPEN


def test_three_seeds_decide_nothing() -> None:
    assert HALF.verdict(*cells(*[(0.04, 0.10)] * 3)) is Verdict.OPEN
    assert HALF.verdict(*cells(*[(0.04, 0.10)] * 4)) is Verdict.HOLDS


STRICT = [claim for claim in claims("rl1", "rl3") if claim.is_strict]


def test_what_says_more_or_fewer_is_strict_and_what_leaves_room_is_not() -> None:
    assert [claim.text.split(" (")[0] for claim in STRICT] == [
        "RoC ends with fewer of them than G of the same 2G drawn blindly",
        "RL needs the SFT before it",
        "a short limit first leaves shorter responses than a long one always",
        "to leave out what is mastered ends higher",
        "the tool gives more than ten times the parameters do",
    ]


@pytest.mark.parametrize("claim", STRICT, ids=lambda claim: claim.text)
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_tie_at_every_seed_is_neither_more_nor_fewer(claim: Claim, level: float) -> None:
    assert claim.verdict(*cells(*[(level, level)] * 5)) is Verdict.OPEN
    better, worse = (level + 0.1, level) if claim.more else (level, level + 0.1)
    assert claim.verdict(*cells(*[(better, worse)] * 5)) is Verdict.HOLDS
    assert claim.verdict(*cells(*[(worse, better)] * 5)) is Verdict.FAILS


def test_nothing_is_at_most_half_of_nothing() -> None:
    assert HALF.verdict(*cells(*[(0.0, 0.0)] * 5)) is Verdict.HOLDS


def test_only_seeds_that_both_arms_have_are_compared() -> None:
    arm, rival = Cell(values={0: 0.04, 1: 0.9}), Cell(values={0: 0.10, 2: 0.0})
    assert HALF.excess(arm, rival).value == pytest.approx(-0.01)


def test_every_claim_is_about_arms_that_there_are() -> None:
    names = {arm.name for arm in arms_of(load_config(CONFIG))}
    for claim in claims("rl1", "rl3"):
        assert {claim.arm, claim.rival} <= names
        assert "{" not in claim.measure
