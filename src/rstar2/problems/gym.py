"""Problems without end: reasoning-gym tasks that have integer answers.

A draw is a pure function of its arguments. The splits are apart twice: they draw from disjoint ranges
of generator seeds, and a question belongs to exactly one split by the hash of its text (80/10/10), so
that small tasks, which repeat themselves under any seed, cannot leak from training into a test.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import Literal

from rstar2.errors import DataError
from rstar2.integers import canonical_integer
from rstar2.problems.identity import question_hash
from rstar2.types import Problem

Split = Literal["train", "validation", "test"]

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_SEEDS_PER_SPLIT = 2**30
_PATIENCE = 1000
"""Draws without a new problem after which a task counts as exhausted."""


def draw(
    tasks: Mapping[str, Mapping[str, object]], *, split: Split, size: int, seed: int
) -> tuple[Problem, ...]:
    """`size` distinct problems, equally many of every task (give or take one), in shuffled order.

    `tasks` maps names of reasoning-gym tasks to overrides of their configuration. DataError if a task
    is unknown, does not take its overrides, has no integer answers, or too few different questions.
    """
    if not tasks or size < 1:
        raise DataError(f"cannot draw {size} problems from {len(tasks)} tasks; give at least one of each")
    problems: list[Problem] = []
    taken: set[str] = set()
    for position, (task, overrides) in enumerate(sorted(tasks.items())):
        quota = size // len(tasks) + (position < size % len(tasks))
        seed_of_task = _generator_seed(task, split, seed)
        items = _items(task, overrides, seed=seed_of_task, limit=_PATIENCE * (quota + 1))
        problems += _distinct(items, taken, task=task, split=split, quota=quota)
    random.Random(seed).shuffle(problems)
    return tuple(problems)


def split_of(question: str) -> Split:
    """The only split that this question may appear in: 80 % train, 10 % validation, 10 % test."""
    tenth = int(question_hash(question), 16) % 10
    return _SPLITS[max(0, tenth - 7)]


def _distinct(
    items: Iterator[tuple[str, str]], taken: set[str], *, task: str, split: Split, quota: int
) -> list[Problem]:
    """The first `quota` usable problems whose question hashes are not in `taken`; adds theirs to it."""
    problems: list[Problem] = []
    num_misses = num_integers = 0
    while len(problems) < quota:
        question, text = next(items)
        key, answer = question_hash(question), canonical_integer(text)
        num_integers += answer is not None
        if answer is not None and key not in taken and split_of(question) == split:
            taken.add(key)
            problems.append(Problem(id=f"{task}-{split}-{key}", question=question, answer=answer, task=task))
            num_misses = 0
            continue
        num_misses += 1
        if num_misses == _PATIENCE:
            raise DataError(
                f"task {task!r} gave only {len(problems)} of {quota} distinct {split} problems; "
                "widen its ranges or ask for fewer"
                if num_integers
                else f"task {task!r} gives no integer answers; choose another task or other overrides"
            )
    return problems


def _items(task: str, overrides: Mapping[str, object], *, seed: int, limit: int) -> Iterator[tuple[str, str]]:
    """(question, answer) pairs of one task, made one at a time as they are asked for."""
    import reasoning_gym  # a second and a half, so only those who draw pay for it
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise DataError(f"reasoning-gym has no task {task!r}; `reasoning_gym.factory.DATASETS` lists them")
    try:
        dataset = reasoning_gym.create_dataset(task, seed=seed, size=limit, **overrides)
    except (TypeError, ValueError, AssertionError) as error:  # how its configurations say no
        raise DataError(f"task {task!r} does not take the overrides {dict(overrides)}: {error}") from error
    return ((item["question"], str(item["answer"])) for item in (dataset[i] for i in range(limit)))


def _generator_seed(task: str, split: Split, seed: int) -> int:
    """A seed below 2**32 (numpy's limit) in the split's own range, unrelated for neighbouring `seed`s.

    reasoning-gym makes item i from seed + i, so plain neighbouring seeds would share all items but one;
    only the lower half of a range is used, which leaves every draw 2**29 items before the next range.
    """
    digest = hashlib.sha256(f"{task}/{seed}".encode()).digest()
    offset = int.from_bytes(digest[:8]) % (_SEEDS_PER_SPLIT // 2)
    return _SPLITS.index(split) * _SEEDS_PER_SPLIT + offset
