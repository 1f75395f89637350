"""Attempts at reasoning-gym problems as Python snippets: right, wrong or broken.

They play the part of the code found on the web: someone met the same kind of problem and wrote
something, often not what was needed. Nothing here is a solution key; the tiny model only ever sees a
mixture in which right attempts are a minority, and reinforcement learning has to find out which are.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How good an attempt is meant to be. What it really prints is found by running it."""

    RIGHT = "right"
    WRONG = "wrong"
    """Runs, and computes something else."""
    BROKEN = "broken"
    """Does not run: a missing import, a wrong type, a syntax error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Alternative snippets for one problem, by kind."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    broken: tuple[str, ...]

    def pick(self, kind: Kind, rng: random.Random) -> str:
        snippets: tuple[str, ...] = getattr(self, kind.value)
        return rng.choice(snippets)


def attempts(task: str, question: str) -> Attempts:
    """The attempts at a question of a known task; KeyError for a task without any."""
    return _TASKS[task](question)


def known_tasks() -> tuple[str, ...]:
    return tuple(_TASKS)


def _numbers(question: str) -> list[str]:
    return re.findall(r"\d+", question)


def _gcd(question: str) -> Attempts:
    args = ", ".join(_numbers(question))
    return Attempts(
        right=(f"import math\nprint(math.gcd({args}))", f"from math import gcd\nprint(gcd({args}))"),
        wrong=(f"print(max({args}))", f"import math\nprint(math.lcm({args}))", f"print(min({args}))"),
        broken=(f"print(math.gcd({args}))", f"print(gcd({args}))", f"import math\nprint(math.gcd([{args}]))"),
    )


def _lcm(question: str) -> Attempts:
    args = ", ".join(_numbers(question))
    product = " * ".join(_numbers(question))
    return Attempts(
        right=(f"import math\nprint(math.lcm({args}))", f"from math import lcm\nprint(lcm({args}))"),
        wrong=(f"print(max({args}))", f"import math\nprint(math.gcd({args}))", f"print({product})"),
        broken=(f"print(math.lcm({args}))", f"print(lcm({args}))", f"import math\nprint(math.lcm([{args}]))"),
    )


def _products(question: str) -> Attempts:
    a, b = _numbers(question)[:2]
    return Attempts(
        right=(f"print({a} * {b})", f"a = {a}\nb = {b}\nprint(a * b)"),
        wrong=(f"print({a} + {b})", f"print({a} - {b})", f"a = {a}\nb = {b}\nprint(a + b)"),
        broken=(f"print({a} x {b})", f"print(mul({a}, {b}))", f"a = {a}\nb = {b}\nprint(a * c)"),
    )


def _count_primes(question: str) -> Attempts:
    low, high = _numbers(question)[:2]
    span = f"range({low}, {high} + 1)"
    return Attempts(
        right=(
            f"from sympy import isprime\nprint(sum(isprime(n) for n in {span}))",
            f"from sympy import primerange\nprint(len(list(primerange({low}, {high} + 1))))",
        ),
        wrong=(
            f"print(sum(n % 2 for n in {span}))",
            f"print(len({span}))",
            f"from sympy import isprime\nprint(sum(n for n in {span} if isprime(n)))",
        ),
        broken=(
            f"print(sum(isprime(n) for n in {span}))",
            f"from math import isprime\nprint(sum(isprime(n) for n in {span}))",
            f"print(len(list(primerange({low}, {high} + 1))))",
        ),
    )


def _count_bits(question: str) -> Attempts:
    n = _numbers(question)[-1]
    return Attempts(
        right=(f"print(bin({n}).count('1'))", f"n = {n}\nprint(n.bit_count())"),
        wrong=(f"print(len(bin({n})))", f"print(str({n}).count('1'))", f"print(bin({n}).count('0'))"),
        broken=(f"print(bin({n}).count(1))", f"n = {n}\nprint(n.count('1'))", f"print(bits({n}))"),
    )


def _chain_sum(question: str) -> Attempts:
    expression = question.split(":")[-1].strip().removesuffix("=").strip()
    terms = ", ".join(_numbers(expression))
    flipped = expression.translate(str.maketrans("+-", "-+"))
    return Attempts(
        right=(f"print({expression})", f"total = {expression}\nprint(total)"),
        wrong=(f"print(sum([{terms}]))", f"print({flipped})", f"print(max([{terms}, 0]))"),
        broken=(f"print({expression} =)", f"print(sum({terms}))", f"total = {expression}\nprint(result)"),
    )


def _basic_arithmetic(question: str) -> Attempts:
    expression = question.removeprefix("Calculate ").rstrip(".")
    flipped = expression.translate(str.maketrans("+*", "*+"))
    return Attempts(
        right=(f"print(int({expression}))", f"x = {expression}\nprint(int(x))"),
        wrong=(f"print(int({flipped}))", f"print(int({expression}) + 1)", f"print(-int({expression}))"),
        broken=(f"print(int({expression})", f"print(calculate({expression}))", f"x = {expression}\nprint(y)"),
    )


def _simple_equations(question: str) -> Attempts:
    left, right = question.strip().split(": ")[-1].rstrip(".").split(" = ")
    variable = re.findall(r"\b[a-zA-Z]\b", question)[0]
    loop = f"for {variable} in range(-999, 999):"
    solve = f"print(solve({left} - ({right}), {variable})[0])"
    return Attempts(
        right=(
            f"{loop}\n if {left} == {right}: print({variable})",
            f"from sympy import *\n{variable} = symbols('{variable}')\n{solve}",
        ),
        wrong=(
            f"{loop}\n if {left} > {right}: break\nprint({variable})",
            f"{variable} = 1\nprint({left})",
            f"{loop}\n if {left} != {right}: print({variable}); break",
        ),
        broken=(f"{loop}\n if {left} = {right}: print({variable})", solve, f"print({left} == {right})"),
    )


def _letter_counting(question: str) -> Attempts:
    letter, text = re.findall(r'"([^"]*)"', question)[:2]
    return Attempts(
        right=(
            f"print('{text}'.lower().count('{letter}'))",
            f"text = '{text}'\nprint(text.lower().count('{letter}'))",
        ),
        wrong=(
            f"print(len('{text}'))",
            f"print(len('{text}'.split()))",
            f"text = '{text}'\nprint(text.index('{letter}'))",
        ),
        broken=(
            f"print('{text}'.count({letter}))",
            f"print(count('{text}', '{letter}'))",
            f"text = {text}\nprint(text.count('{letter}'))",
        ),
    )


_TASKS: Mapping[str, Callable[[str], Attempts]] = {
    "gcd": _gcd,
    "lcm": _lcm,
    "products": _products,
    "count_primes": _count_primes,
    "count_bits": _count_bits,
    "chain_sum": _chain_sum,
    "basic_arithmetic": _basic_arithmetic,
    "simple_equations": _simple_equations,
    "letter_counting": _letter_counting,
}
