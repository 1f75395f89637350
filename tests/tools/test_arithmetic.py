import math
import time
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.tools.arithmetic import _FUNCTIONS, MAX_CHARS, NoValue, evaluate, written

LEAVES = st.integers(-9999, 9999).map(lambda n: (f"({n})", Fraction(n))) | st.decimals(
    -1000, 1000, allow_nan=False, places=4
).map(lambda d: (f"({d:f})", Fraction(d)))


def joined(operator: str, left: tuple[str, Fraction], right: tuple[str, Fraction]) -> tuple[str, Fraction]:
    (left_text, a), (right_text, b) = left, right
    if operator in ("/", "//", "%") and b == 0:
        operator = "*"
    value = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: a / b,
        "//": lambda: Fraction(a // b),
        "%": lambda: a % b,
    }[operator]()
    return f"({left_text} {operator} {right_text})", value


EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.builds(joined, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner, inner),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_expressions_have_the_value_that_fractions_give_them(expression: tuple[str, Fraction]) -> None:
    text, value = expression
    assert evaluate(text) == value


@given(st.integers(-30, 30).filter(bool), st.integers(1, 30), st.integers(-40, 40))
def test_powers_have_the_value_that_fractions_give_them(p: int, q: int, n: int) -> None:
    assert evaluate(f"({p}/{q})**({n})") == Fraction(p, q) ** n


@given(st.fractions())
def test_what_is_written_is_read_back_as_the_same_number(value: Fraction) -> None:
    assert evaluate(written(value).partition(" (about")[0]) == value


@given(st.text(alphabet="0123456789+-*/%().,e_ 9", max_size=60) | st.text(max_size=40))
@settings(deadline=None)
def test_no_text_of_a_model_breaks_it_or_takes_long(text: str) -> None:
    began = time.process_time()
    with suppress(NoValue):
        written(evaluate(text))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("1 + 1", "2"),
        ("0.1 + 0.2", "0.3"),
        ("1e-3 * 5", "0.005"),
        ("1/3", "1/3 (about 0.3333333333333333333333333333)"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("-2**2", "-4"),
        ("2**-2", "0.25"),
        ("(-1)**(10**3000)", "1"),
        ("sqrt(9/4)", "1.5"),
        ("isqrt(10)", "3"),
        ("gcd(12, 18) + lcm(4, 6)", "18"),
        ("factorial(20)", str(math.factorial(20))),
        ("comb(4000, 2000) // comb(4000, 1999)", "1"),
        ("perm(5, 2)", "20"),
        ("pow(7, 222, 1000)", "49"),
        ("pow(3, -1, 7)", "5"),
        ("round(22/7, 3)", "3.143"),
        ("floor(-1/2) + ceil(1/2)", "0"),
        ("max(1, 5/2, 2) - min(3, abs(-4))", "-0.5"),
        ("max(3) + min(-2)", "1"),
        ("3 \u00d7 4 \u00f7 6 \u2212 1", "1"),
        ("1\n + 2", "3"),
        ("+".join(["1"] * 500), "500"),
    ],
)
def test_answers_are_exact(expression: str, answer: str) -> None:
    assert written(evaluate(expression)) == answer


@pytest.mark.parametrize("argument", ["-1", "0", "3", "5/2"])
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_every_function_takes_its_fewest_and_its_most_arguments(name: str, argument: str) -> None:
    _, fewest, most = _FUNCTIONS[name]
    for count in (fewest, min(most, 5)):
        with suppress(NoValue):
            assert isinstance(evaluate(f"{name}({','.join([argument] * count)})"), Fraction)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("9**9**9", "too large"),
        ("10**3000 * 10**3000", "too large"),
        ("factorial(10**9)", "too large"),
        ("comb(10**3000, 5000)", "too large"),
        ("perm(10**6, 10**5)", "too large"),
        ("pow(2, 10**400, 10**400)", "1024 bits"),
        ("1e999999999", "out of range"),
        ("1e99999999999999999999", "out of range"),
        ("round(1, 10**9)", "too large"),
        ("1" * (MAX_CHARS + 1), "at most 1000 characters"),
        ("(" * 300 + "1" + ")" * 300, "no arithmetic expression"),
        ("-" * 999 + "1", "nested too deeply"),
        ("1/0", "division by zero"),
        ("0**-1", "division by zero"),
        ("2 ^ 3", r"write \*\*"),
        ("2**0.5", "there is sqrt"),
        ("sqrt(2)", "irrational"),
        ("sqrt(-1)", "negative"),
        ("gcd(1/2, 3)", "0.5 is no integer"),
        ("factorial(-1)", "negative"),
        ("pow(2, -1, 4)", "not invertible"),
        ("min()", "does not take 0 arguments"),
        ("x + 1", "'x' is no number"),
        ("__import__('os').system('true')", "is no number, operator or function"),
        ("(1).__class__", "is no number, operator or function"),
        ("'a' * 3", "is no number"),
        ("1j", "is no number"),
        ("True", "is no number"),
        ("[1, 2]", "is no number"),
        ("1 if 1 else 2", "is no number"),
        ("max(1, 2, key=abs)", "is no number"),
        ("max(*[1])", "is no number"),
        ("", "no arithmetic expression"),
        ("1 +", "no arithmetic expression"),
    ],
)
def test_what_has_no_value_here_says_why(expression: str, reason: str) -> None:
    with pytest.raises(NoValue, match=reason):
        evaluate(expression)


def test_the_costliest_expressions_are_still_cheap() -> None:
    power = "pow(10**300+1,10**300+7,10**300+9)"
    sums = "+".join([f"1/{10**30 + n}" for n in range(28)])
    for expression in ("+".join([power] * 28), sums, "lcm(" + ",".join(["2**11999"] * 110) + ")"):
        assert len(expression) <= MAX_CHARS
        began = time.process_time()
        written(evaluate(expression))
        assert time.process_time() - began < 0.5
