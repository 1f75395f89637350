import pytest

from rstar2.problems.identity import question_hash


@pytest.mark.parametrize(
    "other", ["What is\n2 + 2? ", "WHAT IS 2 + 2?", "What is 2\u00a0+ 2?", "What is \uff12 + 2?"]
)
def test_spelling_does_not_make_another_question(other):
    assert question_hash(other) == question_hash("What is 2 + 2?")


@pytest.mark.parametrize("other", ["What is 2 - 2?", "What is 2 + 2", "What is 22?"])
def test_punctuation_does(other):
    assert question_hash(other) != question_hash("What is 2 + 2?")


@pytest.mark.parametrize(
    ("raised", "other", "written_out"),
    [("10\u00b2 + 1", "102 + 1", "10^2 + 1"), ("x\u2081", "x1", "x_1"), ("2\u00b9\u2070", "210", "2^10")],
)
def test_the_place_of_a_digit_does_as_well(raised, other, written_out):
    assert question_hash(raised) != question_hash(other)
    assert question_hash(raised) == question_hash(written_out)


def test_the_hash_never_changes_because_resumed_runs_know_problems_by_it():
    assert question_hash("What is 2 + 2?") == "692a9daa52e42c50"
