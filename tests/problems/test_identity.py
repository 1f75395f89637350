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
    [
        ("10\u00b2 + 1", "102 + 1", "10^2 + 1"),
        ("x\u2081", "x1", "x_1"),
        ("2\u00b9\u2070", "210", "2^10"),
        ("2\u207f = 64", "2n = 64", "2^n = 64"),
        ("10\u207b\u00b2", "10\u2212\u00b2", "10^\u22122"),
        ("x\u207a", "x+", "x^+"),
        ("a\u2099\u208a\u2081", "an+1", "a_n+1"),
    ],
)
def test_what_is_raised_or_lowered_does_as_well(raised, other, written_out):
    assert question_hash(raised) != question_hash(other)
    assert question_hash(raised) == question_hash(written_out)


def test_the_hash_never_changes_because_resumed_runs_know_problems_by_it():
    assert question_hash("What is 2 + 2?") == "692a9daa52e42c50"
