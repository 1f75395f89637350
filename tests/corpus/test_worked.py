"""Every snippet of the corpus is run: or the tiny base might learn nonsense."""

import random
from functools import cache
from statistics import fmean

import pytest

from rstar2.corpus.trial import try_out
from rstar2.corpus.worked import Kind, attempts, known_tasks
from rstar2.problems.gym import draw
from rstar2.types import Problem, ToolStatus

NUM_PROBLEMS = 50


@cache
def problems(task: str) -> tuple[Problem, ...]:
    return draw({task: {}}, split="train", size=NUM_PROBLEMS, seed=0)


@pytest.mark.parametrize("task", known_tasks())
def test_right_attempts_print_the_right_answer(task: str) -> None:
    for problem in problems(task):
        for code in attempts(task, problem.question).right:
            result = try_out(code)
            assert result.status is ToolStatus.OK, f"{result.stderr}\n{code}"
            assert result.stdout.strip() == problem.answer, f"{problem.question}\n{code}"


@pytest.mark.parametrize("task", known_tasks())
def test_wrong_attempts_mostly_run_and_print_something_else(task: str) -> None:
    results = [
        (try_out(code), problem.answer)
        for problem in problems(task)
        for code in attempts(task, problem.question).wrong
    ]
    assert fmean(result.status is ToolStatus.OK for result, _ in results) > 0.9
    assert fmean(result.stdout.strip() == answer for result, answer in results) < 0.2


@pytest.mark.parametrize("task", known_tasks())
def test_broken_attempts_fail(task: str) -> None:
    for problem in problems(task):
        for code in attempts(task, problem.question).broken:
            result = try_out(code)
            assert result.status is ToolStatus.EXCEPTION, code
            assert "Error" in result.stderr


def test_a_kind_is_picked_among_its_own_snippets_and_none_is_left_out() -> None:
    made, rng = attempts("gcd", "GCD of 12, 18"), random.Random(0)
    for kind in Kind:
        assert {made.pick(kind, rng) for _ in range(99)} == set(getattr(made, kind.value))
    assert made.right[0] == "import math\nprint(math.gcd(12, 18))"


def test_a_task_without_attempts_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        attempts("sudoku", "q")
