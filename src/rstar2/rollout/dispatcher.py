"""All engines as one: a first-come queue, KV permits per rollout, affinity, weight adoption.

A rollout gets a permit (an engine and `max_total_tokens` of its KV room) with its first turn and keeps
both until `release`; later turns go to the same engine, which holds their prefix. The dispatcher does
its own sums over permits, because an engine's `load()` may lag behind what was just sent to it.
When an engine fails, its rollout moves to another one with all its tokens, `max_moves` times a turn at most.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rstar2.errors import CapacityError, EngineError
from rstar2.ports import Engine, WeightChannel
from rstar2.rollout.placement import can_ever_fit, placement
from rstar2.types import EngineLoad, Generation, GenerationRequest


@dataclass(slots=True, eq=False)
class _Waiting:
    request: GenerationRequest
    excluded: frozenset[int]
    engine: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Dispatcher:
    """Sends each turn to an engine that has room for its rollout."""

    def __init__(self, engines: Sequence[Engine], *, max_moves: int = 1) -> None:
        assert engines
        self._engines = tuple(engines)
        self._max_moves = max_moves
        self._permits: dict[str, tuple[int, int]] = {}  # rollout id -> (engine, tokens)
        self._group_engine: dict[str, int] = {}
        self._queue: deque[_Waiting] = deque()
        self.num_moves = 0
        """Rollouts that were moved because their engine failed."""

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn; waits for room. CapacityError if no engine could ever hold the rollout."""
        excluded: frozenset[int] = frozenset()
        while True:
            index = await self._permit(request, excluded)
            try:
                return await self._engines[index].generate(request)
            except EngineError:
                self.release(request.rollout_id)
                excluded |= {index}
                if len(excluded) > self._max_moves or not self._fits_somewhere(request, excluded):
                    raise
                self.num_moves += 1

    def release(self, rollout_id: str) -> None:
        """Give back the rollout's permit; its engine forgets the prefix."""
        permit = self._permits.pop(rollout_id, None)
        if permit is not None:
            self._engines[permit[0]].release(rollout_id)
            self._admit()

    def loads(self) -> list[EngineLoad]:
        """Each engine's load, with the room that permits have promised taken off."""
        promised = [0] * len(self._engines)
        for index, tokens in self._permits.values():
            promised[index] += tokens
        return [
            replace(load, kv_tokens_reserved=max(load.kv_tokens_reserved, tokens))
            for load, tokens in zip((e.load() for e in self._engines), promised, strict=True)
        ]

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """Swap the weights of all engines; only between rollouts."""
        assert not self._permits, "weights are swapped only when no rollout is in flight"
        self._group_engine.clear()
        await asyncio.gather(*(engine.adopt(channel, version) for engine in self._engines))

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self._engines))

    async def _permit(self, request: GenerationRequest, excluded: frozenset[int]) -> int:
        if request.rollout_id in self._permits:
            return self._permits[request.rollout_id][0]
        if not self._fits_somewhere(request, excluded):
            raise CapacityError(
                f"a rollout of up to {request.max_total_tokens} tokens fits no engine: "
                "raise engine.kv_tokens or lower max_response_tokens"
            )
        waiting = _Waiting(request, excluded)
        self._queue.append(waiting)
        self._admit()
        try:
            return await waiting.engine
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
                self._admit()  # those behind it may need less room
            self.release(request.rollout_id)
            raise

    def _fits_somewhere(self, request: GenerationRequest, excluded: frozenset[int]) -> bool:
        loads = [load for i, load in enumerate(self.loads()) if i not in excluded]
        return can_ever_fit(loads, need_tokens=request.max_total_tokens)

    def _admit(self) -> None:
        """First come, first served: the head waits for room and nobody overtakes it, so none starves."""
        while self._queue:
            head = self._queue[0]
            index = self._place(head)
            if index is None:
                return
            self._queue.popleft()
            self._permits[head.request.rollout_id] = (index, head.request.max_total_tokens)
            self._group_engine[head.request.group_id] = index
            if not head.engine.done():
                head.engine.set_result(index)

    def _place(self, waiting: _Waiting) -> int | None:
        full = [
            replace(load, kv_tokens_reserved=load.kv_tokens_total) if i in waiting.excluded else load
            for i, load in enumerate(self.loads())
        ]
        return placement(
            full,
            need_tokens=waiting.request.max_total_tokens,
            preferred=self._group_engine.get(waiting.request.group_id),
        )
