"""How many tokens' keys and values an engine keeps, and for which rollouts.

Rollouts of one group share their prompt: it counts once, as long as any of them is resident, up to its last
token, which every rollout computes for itself (see prefixes.py). All other tokens are a rollout's own.
Pure bookkeeping; whoever takes room has looked at `free_tokens` before.
"""

from rstar2.types import GenerationRequest

PromptKey = tuple[str, int]


class KvRoom:
    """The room of one engine, tokens."""

    def __init__(self, total_tokens: int) -> None:
        self.total_tokens = total_tokens
        self.used_tokens = 0
        self._own: dict[str, int] = {}
        self._prompt_of: dict[str, PromptKey] = {}
        self._num_members: dict[PromptKey, int] = {}

    @property
    def free_tokens(self) -> int:
        return self.total_tokens - self.used_tokens

    def own_tokens(self, rollout_id: str) -> int:
        return self._own.get(rollout_id, 0)

    def missing_tokens(self, request: GenerationRequest, num_tokens: int) -> int:
        """Room that the request's rollout lacks before `num_tokens` of its tokens can be resident."""
        key = prompt_key(request)
        is_resident = self._prompt_of.get(request.rollout_id) == key
        own_tokens = self._own[request.rollout_id] if is_resident else 0
        shared_tokens = key[1] if key in self._num_members else 0
        return max(0, num_tokens - shared_tokens - own_tokens)

    def prompts_with(self, request: GenerationRequest) -> tuple[int, int]:
        """How many prompts are resident with that of the request, and the tokens of the longest."""
        prompts = {*self._num_members, prompt_key(request)}
        return len(prompts), max(length for _, length in prompts)

    def take(self, request: GenerationRequest, num_tokens: int) -> None:
        """Make `num_tokens` tokens of the rollout resident."""
        key, rollout_id = prompt_key(request), request.rollout_id
        if self._prompt_of.get(rollout_id, key) != key:
            self.drop(rollout_id)
        if rollout_id not in self._own:
            self._own[rollout_id], self._prompt_of[rollout_id] = 0, key
            if key not in self._num_members:
                self.used_tokens += key[1]
            self._num_members[key] = self._num_members.get(key, 0) + 1
        self.grow(rollout_id, num_tokens - key[1] - self._own[rollout_id])

    def grow(self, rollout_id: str, num_tokens: int) -> None:
        self._own[rollout_id] += num_tokens
        self.used_tokens += num_tokens

    def drop(self, rollout_id: str) -> int:
        """Give back all that the rollout takes, if anything; how many of its own tokens that were."""
        own_tokens = self._own.pop(rollout_id, None)
        if own_tokens is None:
            return 0
        key = self._prompt_of.pop(rollout_id)
        self._num_members[key] -= 1
        if not self._num_members[key]:
            del self._num_members[key]
            self.used_tokens -= key[1]
        self.used_tokens -= own_tokens
        return own_tokens


def prompt_key(request: GenerationRequest) -> PromptKey:
    """Its group, and how many tokens the rollouts of it share."""
    return request.group_id, max(0, request.prompt_length - 1)
