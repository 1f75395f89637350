"""Who may run: a worst-case reservation of KV tokens per rollout, first come, first served.

A rollout reserves `max_total_tokens` when its first turn is admitted and holds them, tool calls included,
until it is released: the paper's rule (section 3.2), under which nothing is ever evicted and recomputed.
Invariant: the reserved tokens never exceed the budget. Pure bookkeeping: no tensors, no clock, no tasks.
"""

from rstar2.errors import CapacityError, EngineError
from rstar2.types import GenerationRequest


class Admission:
    """The two queues before an engine.

    Turns of rollouts that already hold a reservation pass those that must still obtain one: were they to
    queue behind a newcomer for whom there is no room, nobody would ever release any.
    """

    def __init__(self, kv_tokens: int) -> None:
        self.kv_tokens_total = kv_tokens
        self._reservations: dict[str, int] = {}
        self._returning: dict[str, GenerationRequest] = {}
        self._arriving: dict[str, GenerationRequest] = {}

    @property
    def kv_tokens_reserved(self) -> int:
        return sum(self._reservations.values())

    @property
    def num_waiting(self) -> int:
        return len(self._returning) + len(self._arriving)

    def submit(self, request: GenerationRequest) -> None:
        """Queue a turn; CapacityError if it can never be admitted."""
        assert request.token_ids, "there is nothing to continue"
        assert request.max_new_tokens > 0, "there is nothing to generate"
        assert request.prompt_length <= len(request.token_ids), "the prompt is a part of the tokens"
        if request.rollout_id in self._returning or request.rollout_id in self._arriving:
            raise EngineError(f"rollout {request.rollout_id} already waits; ask for one turn at a time")
        if len(request.token_ids) + request.max_new_tokens > request.max_total_tokens:
            raise CapacityError(
                f"{len(request.token_ids)} tokens and {request.max_new_tokens} new ones exceed "
                f"max_total_tokens {request.max_total_tokens}; lower max_new_tokens"
            )
        if request.max_total_tokens > self.kv_tokens_total:
            raise CapacityError(
                f"max_total_tokens {request.max_total_tokens} exceeds the engine's KV budget of "
                f"{self.kv_tokens_total} tokens; shorten the rollout or raise the budget"
            )
        held = self._reservations.get(request.rollout_id)
        if held is not None and held < request.max_total_tokens:
            raise CapacityError(
                f"rollout {request.rollout_id} holds {held} tokens and asks for {request.max_total_tokens}; "
                "max_total_tokens must not grow between turns"
            )
        queue = self._arriving if held is None else self._returning
        queue[request.rollout_id] = request

    def admit(self, num_free_rows: int) -> list[GenerationRequest]:
        """The turns that start now, at most `num_free_rows`; newcomers receive their reservation."""
        admitted: list[GenerationRequest] = []
        while len(admitted) < num_free_rows and self._returning:
            admitted.append(_pop_first(self._returning))
        room = self.kv_tokens_total - self.kv_tokens_reserved
        while len(admitted) < num_free_rows and self._arriving:
            request = next(iter(self._arriving.values()))
            if request.max_total_tokens > room:
                break
            room -= request.max_total_tokens
            self._reservations[request.rollout_id] = request.max_total_tokens
            admitted.append(_pop_first(self._arriving))
        return admitted

    def has_admissible(self) -> bool:
        """Whether a free row would be used."""
        if self._returning:
            return True
        room = self.kv_tokens_total - self.kv_tokens_reserved
        return bool(self._arriving) and next(iter(self._arriving.values())).max_total_tokens <= room

    def release(self, rollout_id: str) -> None:
        """Forget the rollout, whether it waits, holds tokens or is unknown."""
        self._returning.pop(rollout_id, None)
        self._arriving.pop(rollout_id, None)
        self._reservations.pop(rollout_id, None)


def _pop_first(queue: dict[str, GenerationRequest]) -> GenerationRequest:
    return queue.pop(next(iter(queue)))
