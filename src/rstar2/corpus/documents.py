"""Plain pre-training text: copying drills and worked problems with what they printed.

The drills teach a small transformer to copy (numbers, words, whole lines), the skill that everything
else rests on: a model that cannot copy a number into its code never earns a reward. Worked problems
are right, wrong or broken in the given proportions.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase

from rstar2.corpus.trial import try_out
from rstar2.corpus.worked import Kind, attempts
from rstar2.types import Problem

Proportions = Mapping[Kind, float]
"""Weight of each kind of attempt; need not sum to 1."""


def pick_kind(proportions: Proportions, rng: random.Random) -> Kind:
    return rng.choices(list(proportions), weights=list(proportions.values()))[0]


def worked_document(problem: Problem, proportions: Proportions, rng: random.Random) -> str:
    """A question, one attempt at it, and what it printed: as prose, or as a JSON record half of the time."""
    code = attempts(problem.task, problem.question).pick(pick_kind(proportions, rng), rng)
    result = try_out(code)
    shown = result.stdout.strip() or result.stderr
    question = problem.question.strip()
    if rng.random() < 0.5:
        return json.dumps({"question": question, "code": code, "output": shown}) + "\n"
    return f"Question: {question}\nPython:\n{code}\nOutput: {shown}\n"


def copy_document(problems: Sequence[Problem], rng: random.Random) -> str:
    """A line of text said twice: a question, numbers or scrambled words."""
    drill: Callable[[Sequence[Problem], random.Random], str] = rng.choice(
        [_some_question, _some_numbers, _some_numbers, _some_expression, _some_words]
    )
    line = drill(problems, rng)
    return f"Copy: {line}\nAgain: {line}\n"


def document(
    problems: Sequence[Problem], *, proportions: Proportions, copy_share: float, rng: random.Random
) -> str:
    """A drill, `copy_share` of the time, or a worked problem."""
    if rng.random() < copy_share:
        return copy_document(problems, rng)
    return worked_document(rng.choice(problems), proportions, rng)


def _some_question(problems: Sequence[Problem], rng: random.Random) -> str:
    return rng.choice(problems).question.strip()


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.randint(1, 10)))


def _some_numbers(problems: Sequence[Problem], rng: random.Random) -> str:
    return ", ".join(_number(rng) for _ in range(rng.randint(1, 5)))


def _some_expression(problems: Sequence[Problem], rng: random.Random) -> str:
    """Sums and products of numbers; in half of them one number is multiplied by a letter."""
    terms = [str(rng.randrange(10 ** rng.randint(1, 4))) for _ in range(rng.randint(2, 6))]
    if rng.random() < 0.5:
        place = rng.randrange(len(terms))
        terms[place] += f"*{rng.choice(ascii_lowercase)}"
    return "".join(t if i == 0 else f" {rng.choice('+-*')} {t}" for i, t in enumerate(terms))


def _some_words(problems: Sequence[Problem], rng: random.Random) -> str:
    words = " ".join(rng.choice(problems).question for _ in range(2)).split()
    return " ".join(rng.sample(words, min(len(words), rng.randint(3, 12))))
