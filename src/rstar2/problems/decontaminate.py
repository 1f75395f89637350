"""No training on the test: drops problems that share eight words in a row with a benchmark.

Words are compared without case, Unicode spelling and punctuation (section 4.2, arXiv:2508.20722, gives
only the length 8), so "\\frac{1}{2}" is "frac 1 2". Over-cautious on purpose: stock phrases are dropped, too.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from rstar2.problems.identity import normalised
from rstar2.types import Problem

NUM_WORDS = 8

_WORD = re.compile(r"[^\W_]+")

Gram = tuple[str, ...]


def grams(text: str, num_words: int = NUM_WORDS) -> Iterator[Gram]:
    """All runs of `num_words` words; a text of fewer words is one gram, so it meets only its equal."""
    words = tuple(_WORD.findall(normalised(text)))
    for start in range(max(1, len(words) - num_words + 1)):
        yield words[start : start + num_words]


def benchmark_grams(questions: Iterable[str], num_words: int = NUM_WORDS) -> frozenset[Gram]:
    """Everything that must not be trained on."""
    return frozenset(gram for question in questions for gram in grams(question, num_words))


def without_overlap(
    problems: Sequence[Problem], benchmark: Collection[Gram], *, num_words: int = NUM_WORDS
) -> list[Problem]:
    """The problems that share no gram with the benchmark; made by `benchmark_grams`, same `num_words`."""
    return [
        problem
        for problem in problems
        if not any(gram in benchmark for gram in grams(problem.question, num_words))
    ]


def contaminated(
    benchmark: Sequence[Problem], trained_on: Iterable[str], *, num_words: int = NUM_WORDS
) -> list[Problem]:
    """The problems of a benchmark that share a gram with a question of the training; those may be many."""
    grams_of = {problem.id: frozenset(grams(problem.question, num_words)) for problem in benchmark}
    watched = frozenset[Gram]().union(*grams_of.values())
    met = {gram for question in trained_on for gram in grams(question, num_words) if gram in watched}
    return [problem for problem in benchmark if grams_of[problem.id] & met]
