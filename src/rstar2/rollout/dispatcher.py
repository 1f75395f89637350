"""All engines as one: carries out what a placement policy orders, and tells it what becomes of every turn.

    generate -> policy.ready -> [Start] -> engine writes -> policy.turn_ended -> caller
                     ^                        |
                     '---- [Stop] or failure -'              release -> policy.ended

The policy decides once for all that happened in the same round of the event loop, so that a burst is seen
whole. An engine that fails gets no more turns until it is said to be back, or until the next weights, if
another one is left; its rollouts go on elsewhere with all their tokens, `max_moves` times a turn at most.
What a lost engine had written of a turn is written again, token by token the same: draws depend on the
rollout's seed and the position alone.
A policy lives from one version of the weights to the next, so that a resumed run decides as an unbroken one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from rstar2.errors import CapacityError, EngineError
from rstar2.ports import Engine, WeightChannel
from rstar2.rollout.placement.learned import LearnedReservation
from rstar2.rollout.placement.policy import Policy, Ready, Start, Stop
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest

NewPolicy: TypeAlias = Callable[[int], Policy]
"""From the number of engines."""


@dataclass(slots=True, eq=False)
class _Course:
    """A rollout between its first turn and its release."""

    num_tokens: int
    """So far, prompt included."""
    engine: int | None = None
    """Where its last turn began."""
    failed: set[int] = field(default_factory=set)
    """Engines that failed its present turn and are not back."""


class Dispatcher:
    """Sends each turn to the engine that the policy chooses, when it says so."""

    def __init__(
        self, engines: Sequence[Engine], *, new_policy: NewPolicy = LearnedReservation, max_moves: int = 1
    ) -> None:
        assert engines
        self._engines = tuple(engines)
        self._new_policy = new_policy
        self._max_moves = max_moves
        self._policy = new_policy(len(engines))
        self._alive = set(range(len(engines)))
        self._returned: set[int] = set()
        """Engines that came back since the last swap of weights began."""
        self._courses: dict[str, _Course] = {}
        self._waiting: dict[str, asyncio.Future[Start]] = {}
        """By rollout: its next order to start."""
        self._is_decision_due = False
        self.num_moves = 0
        """Turns that began, or went on, on another engine than the one that the rollout was on."""
        self.num_stops = 0
        """Turns that the policy broke off, to go on later."""

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn, when its time has come. CapacityError if no engine could ever hold the rollout."""
        course = self._courses.setdefault(request.rollout_id, _Course(len(request.token_ids)))
        course.num_tokens = len(request.token_ids)
        try:
            generation = await self._write(course, request)
        except BaseException:
            self.release(request.rollout_id)
            raise
        course.num_tokens += len(generation.token_ids)
        self._policy.turn_ended(request.rollout_id, course.num_tokens)
        self._decide_soon()
        return generation

    def release(self, rollout_id: str, *, is_complete: bool = False) -> None:
        """The rollout has ended, by itself or because it was given up; its engine forgets the prefix."""
        course = self._courses.pop(rollout_id, None)
        if course is None:
            return
        waiting = self._waiting.pop(rollout_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(EngineError(f"rollout {rollout_id} was released before its turn began"))
        if course.engine is not None:
            self._engines[course.engine].release(rollout_id)
        self._policy.ended(rollout_id, course.num_tokens, is_complete=is_complete)
        self._decide_soon()

    def loads(self) -> list[EngineLoad]:
        return [engine.load() for engine in self._engines]

    def engine_returned(self, engine: int) -> None:
        """A lost engine, or its replacement, takes turns again, with the weights that the others have."""
        for course in self._courses.values():
            course.failed.discard(engine)
        self._returned.add(engine)
        if engine not in self._alive:
            self._alive.add(engine)
            self._policy.engine_returned(engine)
            self._decide_soon()

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """Swap the weights of all engines; only between rollouts. An engine that cannot is left out."""
        assert not self._courses, "weights are swapped only when no rollout is in flight"
        self._returned.clear()
        outcomes = await asyncio.gather(
            *(engine.adopt(channel, version) for engine in self._engines), return_exceptions=True
        )
        failures = {index: error for index, error in enumerate(outcomes) if error is not None}
        for error in failures.values():
            if not isinstance(error, EngineError) or len(failures) == len(self._engines):
                raise error
        lost = failures.keys() - self._returned
        self._alive = set(range(len(self._engines))) - lost
        self._policy = self._new_policy(len(self._engines))
        for index in lost:
            self._policy.engine_lost(index)

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self._engines))

    async def _write(self, course: _Course, request: GenerationRequest) -> Generation:
        """The turn, tried again elsewhere if its engine fails."""
        course.failed.clear()
        if not self._fits_somewhere(request, course.failed):
            raise CapacityError(
                f"a rollout of up to {request.max_total_tokens} tokens fits no engine: "
                "raise engine.kv_tokens or lower max_response_tokens"
            )
        parts: list[Generation] = []
        while True:
            start = await self._next_start(request)
            self._move(course, request.rollout_id, start.engine)
            request = replace(request, is_reserved=start.reserved_tokens is not None)
            try:
                part = await self._engines[start.engine].generate(request)
            except EngineError:
                course.failed.add(start.engine)
                self._note_failure(start.engine)
                if len(course.failed) > self._max_moves or not self._fits_somewhere(request, course.failed):
                    raise
                continue
            parts.append(part)
            if part.finish is not FinishReason.RELEASED:
                return _joined(parts)
            self.num_stops += 1
            request = replace(
                request,
                token_ids=request.token_ids + part.token_ids,
                max_new_tokens=request.max_new_tokens - len(part.token_ids),
            )

    async def _next_start(self, request: GenerationRequest) -> Start:
        waiting: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._waiting[request.rollout_id] = waiting
        self._policy.ready(
            Ready(
                rollout_id=request.rollout_id,
                group_id=request.group_id,
                prompt_tokens=request.prompt_length,
                num_tokens=len(request.token_ids),
                max_total_tokens=request.max_total_tokens,
            )
        )
        self._decide_soon()
        return await waiting

    def _decide_soon(self) -> None:
        """After everyone has spoken who speaks in this round of the event loop."""
        if not self._is_decision_due:
            self._is_decision_due = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        self._is_decision_due = False
        try:
            for order in self._policy.decide(self.loads()):
                if isinstance(order, Stop):
                    self._stop(order.rollout_id)
                    continue
                waiting = self._waiting.pop(order.rollout_id)
                if not waiting.done():  # else: cancelled in this very round, and about to be released
                    waiting.set_result(order)
            if self._waiting and len(self._waiting) == len(self._courses):
                raise CapacityError("the policy starts nobody although nobody runs: choose another policy")
        except Exception as error:  # nobody awaits this callback: those who wait must hear of it, or hang
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)
            self._waiting.clear()

    def _stop(self, rollout_id: str) -> None:
        """Free its room; a turn that it has comes back with what it wrote."""
        engine = self._courses[rollout_id].engine
        assert engine is not None, "only what was started can be stopped"
        self._engines[engine].release(rollout_id)

    def _move(self, course: _Course, rollout_id: str, engine: int) -> None:
        if course.engine is not None and course.engine != engine:
            self.num_moves += 1
            self._engines[course.engine].release(rollout_id)
        course.engine = engine

    def _note_failure(self, engine: int) -> None:
        """Leave the engine out from now on, unless it is the last one."""
        if engine in self._alive and len(self._alive) > 1:
            self._alive.remove(engine)
            self._policy.engine_lost(engine)

    def _fits_somewhere(self, request: GenerationRequest, failed: set[int]) -> bool:
        return any(
            self._engines[index].load().max_total_tokens >= request.max_total_tokens
            for index in self._alive - failed
        )


def _joined(parts: Sequence[Generation]) -> Generation:
    """One turn from what was written of it between stops."""
    return replace(
        parts[-1],
        token_ids=tuple(token for part in parts for token in part.token_ids),
        logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
    )
