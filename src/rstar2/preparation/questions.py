"""One source of problems, from rows to those whose answers can be checked by a rule.

Contradictions go first, while every label is there to contradict. Then the paper's filters (section 4.2,
arXiv:2508.20722) one after the other, each counted: answers in words and of several parts go, then all that
are no integers, then huge ones, then what overlaps a benchmark.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from rstar2.config import ProblemSource
from rstar2.preparation.columns import Columns, is_wanted
from rstar2.preparation.manifest import SourceCount, counts_of_drops
from rstar2.problems.decontaminate import Gram, without_overlap
from rstar2.problems.filters import (
    Filter,
    FilterCount,
    with_integer_answers,
    with_single_answers,
    with_verifiable_answers,
    without_contradictions,
    without_huge_answers,
    without_long_questions,
    without_respelled_repeats,
)
from rstar2.problems.identity import question_hash
from rstar2.types import Problem

Cleaned = tuple[list[Problem], SourceCount]
"""What is left of a source, and how it came to that."""


def clean_problems(
    name: str,
    source: ProblemSource,
    rows: Iterable[Columns],
    *,
    max_digits: int,
    max_chars: int,
    banned: Collection[Gram],
    on_row: Callable[[], None] = lambda: None,
) -> Cleaned:
    """Those that can be trained on, in the source's order; with nothing banned, overlap is no filter."""
    found: dict[tuple[str, str], Problem] = {}
    num_rows = num_others = 0
    for row in rows:
        num_rows += 1
        on_row()
        if not is_wanted(row, source):
            num_others += 1
            continue
        problem = _problem(name, source, row)
        found.setdefault((problem.id, problem.answer), problem)
    num_repeats = num_rows - num_others - len(found)
    rows_left = counts_of_drops(num_rows, [("of other rows", num_others), ("repeated rows", num_repeats)])
    filters: dict[str, Filter] = {
        "contradictions": without_contradictions,
        "answers in words": with_verifiable_answers,
        "answers of parts": with_single_answers,
        "no integers": with_integer_answers,
        "huge answers": lambda problems: without_huge_answers(problems, max_digits=max_digits),
        "long questions": lambda problems: without_long_questions(problems, max_chars=max_chars),
        "repeats": without_respelled_repeats,
    }
    if banned:
        filters["8-gram overlap"] = lambda problems: without_overlap(problems, banned)
    kept, counts = _filtered(list(found.values()), filters)
    return kept, SourceCount(
        name=name,
        origin=source.path or source.hub,
        licence=source.licence,
        paper=source.paper,
        filters=(*rows_left, *counts),
    )


def _problem(name: str, source: ProblemSource, row: Columns) -> Problem:
    question = row.text(source.question).strip()
    return Problem(id=question_hash(question), question=question, answer=row.label(source.answer), task=name)


def _filtered(
    problems: Sequence[Problem], filters: Mapping[str, Filter]
) -> tuple[list[Problem], tuple[FilterCount, ...]]:
    """As `apply_filters`, but a source of which nothing is left is no error: there are others."""
    counts: list[FilterCount] = []
    for name, keep in filters.items():
        kept = keep(problems)
        counts.append(FilterCount(name=name, num_before=len(problems), num_after=len(kept)))
        problems = kept
    return list(problems), tuple(counts)


def merged(sources: Sequence[Cleaned]) -> list[Cleaned]:
    """The sources without what contradicts or repeats each other; the earlier source keeps a repeat."""
    agreed = without_contradictions([problem for problems, _ in sources for problem in problems])
    first = without_respelled_repeats(agreed)
    return [
        _left(_left(source, "contradictions elsewhere", agreed), "repeats elsewhere", first)
        for source in sources
    ]


def _left(source: Cleaned, name: str, kept: Sequence[Problem]) -> Cleaned:
    """What of a source is among all that a filter kept; a problem may be in several sources."""
    (problems, count), ids = source, {(problem.id, problem.task) for problem in kept}
    left = [problem for problem in problems if (problem.id, problem.task) in ids]
    return left, count.filtered(FilterCount(name=name, num_before=len(problems), num_after=len(left)))
