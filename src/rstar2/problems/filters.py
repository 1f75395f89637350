"""What makes a set of problems fit to train on: small pure filters, and the count of what each dropped.

A filter takes problems and gives back those it keeps, in order; it changes nothing but the spelling of
integer answers. Compose them with `functools.partial` and `apply_filters`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rstar2.errors import DataError
from rstar2.integers import canonical_integer
from rstar2.problems.decontaminate import benchmark_grams, without_overlap
from rstar2.problems.identity import question_hash
from rstar2.types import Problem

_LATEX_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SEVERAL = re.compile(r";|,(?!\s*\d{3}(?!\d))|\band\b|\bor\b|=.*=")
"""Parts are listed by semicolons, commas (but those between thousands), words, or each with its name."""
_DRESS = re.compile(
    r"\\(?:text|textrm|mbox|mathrm)\s*\{[^{}]*\}(?:\s*\^\s*\{?[0-9]\}?)?|\^\s*\{?\s*\\circ\s*\}?"
    r"|\\boxed|\\[%$]|[{}$%]|^\s*[a-zA-Z]\s*=|(?<=[0-9])\.0+(?![0-9])"
)
r"""Of a label: its unit, its name, `.0`."""

Filter = Callable[[Sequence[Problem]], Sequence[Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCount:
    """What one filter did."""

    name: str
    num_before: int
    num_after: int

    def __str__(self) -> str:
        return f"{self.name}: {self.num_before} -> {self.num_after} (-{self.num_before - self.num_after})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    """How often a reference model solved a problem."""

    num_solved: int
    num_attempts: int


def apply_filters(
    problems: Sequence[Problem], filters: Mapping[str, Filter]
) -> tuple[tuple[Problem, ...], tuple[FilterCount, ...]]:
    """The problems that pass all filters, applied in order, and one count per filter."""
    counts: list[FilterCount] = []
    for name, keep in filters.items():
        kept = keep(problems)
        counts.append(FilterCount(name=name, num_before=len(problems), num_after=len(kept)))
        problems = kept
    if not problems:
        raise DataError(f"no problem is left ({'; '.join(map(str, counts))}); relax a filter")
    return tuple(problems), tuple(counts)


def training_filters(benchmark_questions: Iterable[str]) -> dict[str, Filter]:
    """What files of problems pass before they are trained on, in order (paper 4.2): a run's, and a check's.

    Without a question to compare with, overlap is no filter, so that no count says that there was none.
    """
    filters: dict[str, Filter] = {
        "contradictions": without_contradictions,
        "integer answer": with_integer_answers,
        "repeats": without_respelled_repeats,
    }
    if banned := benchmark_grams(benchmark_questions):
        filters["8-gram overlap"] = lambda problems: without_overlap(problems, banned)
    return filters


def with_integer_answers(problems: Sequence[Problem]) -> list[Problem]:
    """Only integer answers, in canonical spelling: other answers have too many right forms to check."""
    return [
        replace(problem, answer=answer)
        for problem in problems
        if (answer := canonical_integer(problem.answer)) is not None
    ]


def with_verifiable_answers(problems: Sequence[Problem]) -> list[Problem]:
    """No answers in words alone, such as "The limit does not exist", and no missing ones (paper 4.2)."""
    return [p for p in problems if p.answer.strip() and not _is_in_words(p.answer)]


def with_single_answers(problems: Sequence[Problem]) -> list[Problem]:
    """No answers of several parts, such as "Perimeter=54cm, Area=180cm^2" or "2 and 3" (paper 4.2)."""
    return [p for p in problems if _is_integer(p) or not _SEVERAL.search(p.answer)]


def without_huge_answers(problems: Sequence[Problem], *, max_digits: int) -> list[Problem]:
    """No answers of more digits than a model can be asked to write out."""
    return [p for p in problems if sum(map(str.isdigit, p.answer)) <= max_digits]


def without_long_questions(problems: Sequence[Problem], *, max_chars: int) -> list[Problem]:
    """No questions that would take the room of the rollout (release: prompts of more than 2048 tokens)."""
    return [p for p in problems if len(p.question) <= max_chars]


def without_exact_repeats(problems: Sequence[Problem]) -> list[Problem]:
    """The first of every question text."""
    return _first_of_each(problems, lambda problem: problem.question)


def without_respelled_repeats(problems: Sequence[Problem]) -> list[Problem]:
    """The first of all questions that differ only in case, white space or Unicode spelling."""
    return _first_of_each(problems, lambda problem: question_hash(problem.question))


def without_contradictions(problems: Sequence[Problem]) -> list[Problem]:
    """No question that appears with two different answers: at least one of its labels is wrong.

    Spellings of one integer agree, with and without its unit, and no label contradicts none. Goes before all
    filters that drop some of a question's labels, by what they are or as repeats: they would hide the
    contradiction.
    """
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for problem in problems:
        if problem.answer:
            answers[question_hash(problem.question)].add(_meaning(problem.answer))
    return [p for p in problems if len(answers[question_hash(p.question)]) <= 1]


def _meaning(label: str) -> str:
    """The integer that a label spells, if need be without its dress; any other label as it is."""
    return canonical_integer(label) or canonical_integer(_DRESS.sub(" ", label)) or label


def with_pass_rate(
    problems: Sequence[Problem],
    rates: Mapping[str, PassRate],
    *,
    min_solved: int = 0,
    drop_all_solved: bool = False,
) -> list[Problem]:
    """Problems solved often enough to trust the label, and, if asked, not so often that nothing is left.

    `rates` is by problem id; a problem that was never attempted is an error, not a guess.
    The paper keeps `min_solved=2` of 16 (section 4.2, arXiv:2508.20722) and drops all-solved ones in stage 3.
    """
    missing = [problem.id for problem in problems if problem.id not in rates]
    if missing:
        raise DataError(f"no pass rate for {len(missing)} problems, first {missing[0]!r}; measure them first")
    return [
        problem
        for problem in problems
        if (rate := rates[problem.id]).num_solved >= min_solved
        and not (drop_all_solved and rate.num_solved == rate.num_attempts)
    ]


def _first_of_each(problems: Sequence[Problem], key: Callable[[Problem], str]) -> list[Problem]:
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(key(problem), problem)
    return list(first.values())


def _is_integer(problem: Problem) -> bool:
    """Thousands may be set apart in more ways than `_SEVERAL` knows."""
    return canonical_integer(problem.answer) is not None


def _is_in_words(answer: str) -> bool:
    return _WORD.search(_LATEX_COMMAND.sub(" ", answer)) is not None and not any(map(str.isdigit, answer))
