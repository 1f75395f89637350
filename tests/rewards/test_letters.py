import pytest

from rstar2.rewards.letters import choice_letter


@pytest.mark.parametrize(
    "text",
    [
        "B",
        " B ",
        "(B)",
        "B)",
        "B.",
        r"\text{B}",
        r"\text{(B)}",
        r"\textbf{B}",
        r"\mathrm{B}",
        r"\mathbf{(B)}",
        "$B$",
        r"\(B\)",
        r"(\text{B})",
        r"$(\mathsf{B}).$",
        r"\text{B.}",
        r"\textsf{B}",
    ],
)
def test_a_letter_is_read_in_any_dress(text):
    assert choice_letter(text) == "B"


@pytest.mark.parametrize(
    "text", ["", "b", "AB", "B or C", "B) ribosome", "7", r"\text{Bob}", "B+C", "x", r"\B"]
)
def test_what_is_not_one_letter_is_none(text):
    assert choice_letter(text) is None


def test_a_long_answer_is_no_letter_whatever_it_is_made_of():
    assert choice_letter("A" + ")" * 100_000 + "x") is None
    assert choice_letter("(" + " " * 100_000 + "A") is None
