"""Fewer problems than there are: every source keeps its share, wherever in the files its problems stand."""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256

from rstar2.types import Problem


def fair_share(problems: Sequence[Problem], size: int, *, seed: int) -> tuple[Problem, ...]:
    """`size` of them, in their order; a smaller share is part of every larger one of the same seed.

    Of n problems of a task, ordered by a hash, the k-th (from 0) comes at (k + 1/2) / n, and the first
    `size` of all are taken. That is Webster's apportionment: each task gets its share, rounded.
    """
    places_of_task: defaultdict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(problems)), key=lambda place: _rank(problems[place], seed)):
        places_of_task[problems[place].task].append(place)
    turn = {
        place: (number + 0.5) / len(places)
        for places in places_of_task.values()
        for number, place in enumerate(places)
    }
    return tuple(problems[place] for place in sorted(sorted(turn, key=turn.__getitem__)[:size]))


def _rank(problem: Problem, seed: int) -> bytes:
    return sha256(f"{seed}/{problem.task}/{problem.id}".encode()).digest()
