"""Which problems come next: every problem once per epoch, in an order that the seed fixes.

The state is the epoch and the set of ids already consumed in it, not an offset: problems may be added
or removed between a kill and a resume, and none is skipped or repeated within an epoch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rstar2.errors import DataError
from rstar2.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerState:
    epoch: int = 0
    consumed: frozenset[str] = frozenset()


def draw_problems(
    problems: Sequence[Problem], state: SamplerState, *, count: int, seed: int
) -> tuple[tuple[Problem, ...], SamplerState]:
    """The next `count` problems and the state after them; goes into the next epoch when one runs out."""
    if not problems:
        raise DataError("there are no problems to train on: the filters of this stage removed all of them")
    drawn: list[Problem] = []
    while len(drawn) < count:
        left = [p for p in _order(problems, state.epoch, seed) if p.id not in state.consumed]
        taken = left[: count - len(drawn)]
        drawn += taken
        state = replace(state, consumed=state.consumed | {p.id for p in taken})
        if len(taken) == len(left):
            state = SamplerState(epoch=state.epoch + 1)
    return tuple(drawn), state


def _order(problems: Sequence[Problem], epoch: int, seed: int) -> list[Problem]:
    ordered = sorted(problems, key=lambda p: p.id)
    random.Random(f"{seed}/{epoch}").shuffle(ordered)
    return ordered
