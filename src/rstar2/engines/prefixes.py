"""Keys and values that outlive a turn: the prefix of each idle rollout, and the prompt of each group.

A kept prefix is only a saving: whatever is missing is computed again, so nothing here decides an outcome.
Invariant: every kept tensor belongs to a rollout that the engine still knows, and to the present weights.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rstar2.models.cached_attention import Prefix
from rstar2.types import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The tokens of a prefix and their keys and values."""

    token_ids: tuple[int, ...]
    tensors: Prefix


class Prefixes:
    """What may be reused, by rollout and by group."""

    def __init__(self) -> None:
        self._turns: dict[str, Kept] = {}
        self._prompts: dict[str, Kept] = {}
        self._group_of: dict[str, str] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)

    def join(self, request: GenerationRequest) -> None:
        """Make the rollout known: the prompt of its group is kept until its last member leaves."""
        self._group_of[request.rollout_id] = request.group_id
        self._members[request.group_id].add(request.rollout_id)

    def leave(self, rollout_id: str) -> None:
        """Forget the rollout, and its group's prompt if it was the last member."""
        self._turns.pop(rollout_id, None)
        group_id = self._group_of.pop(rollout_id, None)
        if group_id is None:
            return
        self._members[group_id].discard(rollout_id)
        if not self._members[group_id]:
            del self._members[group_id]
            self._prompts.pop(group_id, None)

    def park(self, rollout_id: str, kept: Kept) -> None:
        self._turns[rollout_id] = kept

    def share(self, group_id: str, kept: Kept) -> None:
        self._prompts[group_id] = kept

    def has_prompt(self, group_id: str) -> bool:
        return group_id in self._prompts

    def has_turn(self, rollout_id: str) -> bool:
        return rollout_id in self._turns

    def reusable(self, request: GenerationRequest) -> int:
        """How many leading tokens of the request need not be computed."""
        return self._longest(request)[0]

    def take(self, request: GenerationRequest) -> tuple[int, Prefix]:
        """The longest kept prefix of the request and its length; a rollout's own is handed over."""
        length, tensors = self._longest(request)
        self._turns.pop(request.rollout_id, None)
        return length, tensors

    def _longest(self, request: GenerationRequest) -> tuple[int, Prefix]:
        """At least one token is left to compute: the next one is drawn from its logits."""
        best: tuple[int, Prefix] = (0, ())
        for kept in (self._turns.get(request.rollout_id), self._prompts.get(request.group_id)):
            if kept is not None:
                length = min(num_common(kept.token_ids, request.token_ids), len(request.token_ids) - 1)
                best = max(best, (length, kept.tensors), key=lambda pair: pair[0])
        return best

    def drop(self) -> None:
        """Forget all tensors, as new weights demand; rollouts and groups stay known."""
        self._turns.clear()
        self._prompts.clear()


def num_common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:  # the usual case: a rollout only grows
        return length
    return next(i for i in range(length) if left[i] != right[i])
