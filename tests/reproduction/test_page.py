"""The page says what the numbers are: checked on two arms, two seeds and numbers made by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rstar2.reproduction.arms import BASELINE, Arm
from rstar2.reproduction.contrasts import cell, difference, measures
from rstar2.reproduction.outcomes import Outcome, Step
from rstar2.reproduction.page import write_page
from rstar2.reproduction.pictures import draw_curves
from rstar2.reproduction.trials import Trial

TITLES = {BASELINE: "GRPO, G rollouts", "topk": "RoC, cleanest first"}
METRICS = (
    "calls_per_rollout",
    "tool_error_rate",
    "tokens_per_rollout",
    "clip_ratio",
    "all_correct_share",
    "reward",
)


def outcome(name: str, seed: int, *, pass_at_1: float, errors: float, tokens: int) -> Outcome:
    values = dict.fromkeys(METRICS, 0.5) | {"tool_error_rate_correct": errors}
    return Outcome(
        trial=Trial(arm=Arm(name=name, title=TITLES[name]), seed=seed),
        stages={"rl1": {"pass_at_1": pass_at_1, "tokens_per_rollout": 70.0, "wall_s": 1.0}},
        steps=tuple(Step(stage="rl1", generated_tokens=tokens * i, values=values) for i in (1, 2)),
        right={("rl1", False): 0.75},
    )


OUTCOMES = {
    BASELINE: [
        outcome(BASELINE, 0, pass_at_1=0.80, errors=0.10, tokens=4000),
        outcome(BASELINE, 1, pass_at_1=0.90, errors=0.20, tokens=4000),
    ],
    "topk": [
        outcome("topk", 0, pass_at_1=0.82, errors=0.04, tokens=8000),
        outcome("topk", 1, pass_at_1=0.96, errors=0.10, tokens=8000),
    ],
}


def test_a_cell_is_mean_and_spread_over_seeds_and_a_difference_is_paired() -> None:
    by_key = {measure.key: measure for measure in measures(OUTCOMES)}
    errors = by_key["tool_error_rate_correct_rl1"]
    roc, baseline = (cell(errors, OUTCOMES[name]) for name in ("topk", BASELINE))
    assert roc.mean == pytest.approx(0.07)
    assert roc.std == pytest.approx(0.0424264, abs=1e-6)
    found = difference(roc, baseline)
    assert found.value == pytest.approx(-0.08)
    assert (found.low, found.high) == pytest.approx((-0.33412, 0.17412), abs=1e-5)


def test_equal_cost_is_what_the_cheapest_trial_generated() -> None:
    (equal,) = [m for m in measures(OUTCOMES) if m.key == "reward_at_equal_tokens"]
    assert "8,000 tokens" in equal.meaning
    assert cell(equal, OUTCOMES["topk"]).values == {0: 0.5, 1: 0.5}


def test_an_arm_that_ended_before_the_budget_is_not_compared_at_equal_cost() -> None:
    thrifty = [outcome("topk", seed, pass_at_1=0.5, errors=0.1, tokens=1000) for seed in (0, 1)]
    (equal,) = [m for m in measures(OUTCOMES | {"topk": thrifty}) if m.key == "reward_at_equal_tokens"]
    assert cell(equal, thrifty).values == {}
    assert "empty where an arm ended with fewer" in equal.meaning


def test_the_page_has_a_row_per_arm_the_command_and_the_pictures(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    pictures = draw_curves(OUTCOMES, TITLES, page)
    write_page(page, OUTCOMES, TITLES, command="rstar2 reproduce --quick", pictures=pictures)
    text = page.read_text()
    assert "`rstar2 reproduce --quick`" in text
    halves = r"^\| RoC ends .* half .* \| \*\*open\*\* \| 7\.0 \(RoC.*\) \| 15\.0 \(GRPO.*\) \| 0\.47 \|$"
    assert re.search(halves, text, re.MULTILINE)
    assert "1/penalty" not in text, "there is no such arm"
    assert re.search(r"^\| RoC, cleanest first \| 2 \| 89\.0 \(9\.9\) \|", text, re.MULTILINE)
    assert re.search(r"^\| RoC, cleanest first \| \+4\.0 \[-21\.4, \+29\.4\] \|", text, re.MULTILINE)
    assert [picture.name for picture in pictures] == ["results-resampling.svg"]
    for picture in pictures:
        assert f"({picture.name})" in text
        assert picture.read_text().startswith("<?xml")
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert numbers["topk"]["pass_at_1_after_rl1"] == {"0": 0.82, "1": 0.96}


def test_an_arm_without_calls_has_no_line_of_errors(tmp_path: Path) -> None:
    silent = [
        replace(
            one,
            steps=tuple(
                replace(step, values={**step.values, "calls_per_rollout": 0.0}) for step in one.steps
            ),
        )
        for one in OUTCOMES["topk"]
    ]
    outcomes = {BASELINE: OUTCOMES[BASELINE], "topk": silent}
    (picture,) = draw_curves(outcomes, TITLES, tmp_path / "results.md")
    write_page(tmp_path / "results.md", outcomes, TITLES, command="rstar2 reproduce", pictures=[picture])
    assert cell(next(m for m in measures(outcomes) if m.title == "errors, %"), silent).values == {}
    assert picture.read_bytes() != draw_curves(OUTCOMES, TITLES, tmp_path / "b.md")[0].read_bytes()


def test_a_picture_drawn_again_is_the_same_file(tmp_path: Path) -> None:
    (first,) = draw_curves(OUTCOMES, TITLES, tmp_path / "a.md")
    (second,) = draw_curves(OUTCOMES, TITLES, tmp_path / "b.md")
    assert first.read_bytes() == second.read_bytes()


def test_what_no_seed_has_is_left_blank(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page(page, OUTCOMES, TITLES, command="rstar2 reproduce", pictures=[])
    tables = [line.split(" | ") for line in page.read_text().splitlines()]
    (head,) = [row for row in tables if row[:2] == ["| arm", "seeds"]]
    (roc, _) = [row for row in tables if row[0] == "| RoC, cleanest first"]
    assert roc[head.index("right without error, %")] == "75.0 (0.0)"
    assert roc[head.index("right after an error, %")] == ""


def test_arms_without_a_seed_in_common_are_shown_but_not_compared(tmp_path: Path) -> None:
    outcomes = {BASELINE: OUTCOMES[BASELINE][:1], "topk": OUTCOMES["topk"][1:]}
    write_page(tmp_path / "results.md", outcomes, TITLES, command="", pictures=[])
    text = (tmp_path / "results.md").read_text()
    assert "| RoC, cleanest first | 1 | 96.0 | 70 |" in text
    assert "RoC ends the first stage" not in text
