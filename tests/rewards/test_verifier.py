"""The verifier's program under the real math-verify, run in this process to pay for sympy only once."""

import contextlib
import io
import logging
import sys

import pytest

from rstar2.rewards.verifier import equality_program, verdict


@pytest.fixture
def says_equal(monkeypatch):
    def run(truth: str, answer: str) -> bool | None:
        program = equality_program(truth, answer, time_limit_s=10.0)
        monkeypatch.setattr(sys, "stdin", io.StringIO(program.stdin))
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            exec(program.code, {"__name__": "__main__"})
        return verdict(stdout.getvalue())

    yield run
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("4", "4.0"),
        ("4", r"\frac{8}{2}"),
        ("42", "x = 42"),
        ("42", r"42^\circ"),
        ("42", r"2 \cdot 21"),
        ("120", "5!"),
        (r"\frac{1}{2}", "0.5"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("(a+b)(b+c)", "(b+c)(a+b)"),
        ("1,2", "2,1"),
    ],
)
def test_equal_values_in_other_clothes_are_equal(says_equal, truth, answer):
    assert says_equal(truth, answer) is True


@pytest.mark.parametrize(
    "answer",
    [
        "41 or 42",
        "42 or 43 or 44",
        r"41 \text{ or } 42",
        r"\{41, 42\}",
        "41, 42",
        "41; 42",
        "$41$ or $42$",
        "42 = 41",
        r"x = 42 \text{ or } x = 41",
        r"x \ge 42",
        "[41, 42]",
        r"41 \lor 42",
        r"41 \pm 1",
        r"\boxed{42}, \boxed{41}",
        "41} or {42",
        "the answer is 42",
        "42.5",
        "42.0000001",
        r"\text{42}\text{43}",
        "__import__('os').getpid()",
    ],
)
def test_several_guesses_or_prose_are_not_the_answer(says_equal, answer):
    assert says_equal("42", answer) is False


def test_a_label_that_cannot_be_read_is_an_error_and_not_a_wrong_answer(says_equal):
    with pytest.raises(ValueError, match="label"):
        says_equal("", "42.0")


@pytest.mark.parametrize("stdout", ["", "equal equal", "True", "equal\ndifferent"])
def test_anything_but_one_verdict_is_none(stdout):
    assert verdict(stdout) is None
