import pytest

from rstar2.evaluation.behaviour.analysis import Played, behaviour
from rstar2.evaluation.behaviour.entropy import scored
from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.evaluation.behaviour.tables import tables


@pytest.fixture
def played(words, record, call):
    """A phase in which so many of two problems, one of them with an error, are solved."""

    def play(phase: str, num_right: int) -> Played:
        lines = [
            record(
                "</reason>" + call("f"),
                "</reason><answer>6</answer>",
                calls=["f", None],
                statuses=[status],
                responses=["6"],
                reward=float(number < num_right),
                problem=f"p{number}",
            )
            for number, status in enumerate(("ok", "exception"))
        ]
        rollouts = [RecordedRollout.of(line, words) for line in lines]
        entropies = [[0.5] * (len(rollout.token_ids) - 1) for rollout in rollouts]
        return Played(
            phase=phase,
            rollouts=rollouts,
            scored=[scored(r, e, words) for r, e in zip(rollouts, entropies, strict=True)],
        )

    return play


def cells(phases: list[Played], title: str) -> dict[str, tuple[str, ...]]:
    (table,) = (t for t in tables(behaviour(phases, seed=0)) if t.title == title)
    assert all(len(row) == len(table.columns) for row in table.rows)
    return {" ".join(row[: 1 + (title != "Conduct")]): row for row in table.rows} | {"": table.columns}


def test_conduct_stands_before_and_after_with_the_change(played):
    found = cells([played("base", 0), played("sft", 1), played("rl1", 0), played("rl2", 2)], "Conduct")
    assert found[""] == ("per rollout", "sft", "rl2", "change")
    assert found["right"] == ("right", "50.0% [0, 100]", "100.0% [100, 100]", "50.0% [0, 100]")
    assert found["calls"][1:] == ("1.00 [1.00, 1.00]", "1.00 [1.00, 1.00]", "0.000 [0.000, 0.000]")
    assert found["right after a failed call"][1:3] == ("0.0% [0, 0]", "100.0% [100, 100]")


def test_one_phase_has_no_change_and_what_is_not_there_is_no_number(played):
    found = cells([played("mine", 0)], "Conduct")
    assert found[""] == ("per rollout", "mine")
    assert found["calls per right answer"] == ("calls per right answer", "-")


def test_regions_and_reactions_without_tokens_have_no_row(played):
    phases = [played("mine", 1)]
    assert list(cells(phases, "Entropy by what is written")) == [
        "mine code", "mine answer", "mine format", "",
    ]  # fmt: skip
    reactions = cells(phases, "Turns that answer a tool's response")
    assert reactions["mine success"][2:5] == ("1", "0.500 [0.500, 0.500]", "0.0% [0, 0]")
    assert cells([played("mine", 1)], "What the uncertain tokens are")["mine format"][3].count("'") > 2


def test_rollouts_without_their_tokens_are_counted(played):
    assert behaviour([played("mine", 1)], seed=0).phases[0].num_tokenized_anew == 2
