"""Who shares which prompt, and what is kept of the rollouts that are not running.

Rollouts with the same prompt tokens share its keys and values. A prompt is shared up to its last token,
which every rollout computes for itself: the first new token is drawn from its logits.
A kept prefix is only a saving: whatever is missing is computed again, so nothing here decides an outcome.
Invariant: everything kept belongs to a rollout that the engine still knows, and to the present weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rstar2.models.row_cache import Prefix
from rstar2.types import GenerationRequest


@dataclass(slots=True, eq=False)
class Prompt:
    """Leading tokens that several rollouts share."""

    token_ids: tuple[int, ...]
    slot: int | None = None
    """Its row in the prompt cache; None until computed."""
    members: set[str] = field(default_factory=set)
    """Rollouts that wait, run or may come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A rollout's own tokens, those after its prompt, with their keys and values."""

    prompt: Prompt
    token_ids: tuple[int, ...]
    tensors: Prefix


class Prefixes:
    """The prompts in use, and the kept prefixes of idle rollouts."""

    def __init__(self) -> None:
        self._turns: dict[str, Kept] = {}
        self._prompts: dict[tuple[int, ...], Prompt] = {}
        self._prompt_of: dict[str, Prompt] = {}

    def join(self, request: GenerationRequest) -> Prompt:
        """The request's prompt, kept until the last of its rollouts leaves."""
        token_ids = request.token_ids[: max(0, request.prompt_length - 1)]
        prompt = self._prompts.setdefault(token_ids, Prompt(token_ids))
        previous = self._prompt_of.get(request.rollout_id)
        if previous is not None and previous is not prompt:
            self.leave(request.rollout_id)
        prompt.members.add(request.rollout_id)
        self._prompt_of[request.rollout_id] = prompt
        return prompt

    def leave(self, rollout_id: str) -> None:
        """Forget the rollout; its prompt becomes idle if it was the last member."""
        self._turns.pop(rollout_id, None)
        prompt = self._prompt_of.pop(rollout_id, None)
        if prompt is not None:
            prompt.members.discard(rollout_id)

    def remove_idle_prompts(self) -> list[Prompt]:
        """Forget the prompts without members; not done by `leave`, which may come amid a forward."""
        idle = [prompt for prompt in self._prompts.values() if not prompt.members]
        for prompt in idle:
            del self._prompts[prompt.token_ids]
        return idle

    def park(self, rollout_id: str, kept: Kept) -> None:
        self._turns[rollout_id] = kept

    def reusable(self, request: GenerationRequest, prompt: Prompt) -> int:
        """How many tokens after the prompt need not be computed; at least one token is left."""
        kept = self._turns.get(request.rollout_id)
        if kept is None or kept.prompt is not prompt:
            return 0
        own = request.token_ids[len(prompt.token_ids) :]
        return min(num_common(kept.token_ids, own), len(own) - 1)

    def take(self, rollout_id: str) -> Prefix:
        """Hand over what `reusable` counted, whole."""
        return self._turns.pop(rollout_id).tensors

    def drop(self) -> None:
        """Forget all keys and values, as new weights demand; rollouts stay known."""
        self._turns.clear()
        for prompt in self._prompts.values():
            prompt.slot = None


def num_common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:  # the usual case: a rollout only grows
        return length
    return next(i for i in range(length) if left[i] != right[i])
