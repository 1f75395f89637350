"""Continuous batching over a transformers causal LM: the default engine.

A background task iterates as long as there is work: admit waiting turns, pause some if the KV room ends, then
one forward that writes one token for every running row and prefills new ones. Turns join at any iteration and
leave when they end.
Not here: who may run (admission.py), rows and forwards (batch.py), what is kept between turns (prefixes.py),
the draws (sampling.py).

Given the same submissions at the same iterations, outputs are the same bits from run to run: nothing depends
on time or on hash order. Log-probs depend on the batch only through float rounding.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rstar2.engines.admission import Admission
from rstar2.engines.batch import Batch, Plan, Row
from rstar2.engines.counters import EngineStats
from rstar2.errors import EngineError
from rstar2.models.cached_attention import use_cached_attention
from rstar2.ports import WeightChannel
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchStats(EngineStats):
    """What only this engine counts, besides."""

    evicted_tokens: int = 0
    """Keys and values dropped for lack of room while their rollout was to go on."""
    recomputed_tokens: int = 0
    """Of them, those that were computed again."""
    busy_s: float = 0.0
    """Spent in iterations, waiting excluded."""


class TorchEngine:
    """An `Engine` in this process. The model becomes the engine's own: its attention is replaced.

    `pace` is awaited before every iteration with "is there anything to run"; a caller that delivers tool
    results inside it decides at which iteration they arrive, which makes whole runs reproducible.
    `threaded` computes in a thread, so that the event loop stays free during long forwards.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eos_token_id: int,
        kv_tokens: int,
        max_running: int,
        max_prefill_tokens: int = 4096,
        version: int = 0,
        pace: Callable[[bool], Awaitable[None]] | None = None,
        threaded: bool = False,
    ) -> None:
        use_cached_attention(model)
        self._model = model.eval().requires_grad_(False)
        self._eos_token_id = eos_token_id
        self._max_running = max_running
        self._version = version
        self._pace = pace
        self._batch = Batch(
            model, eos_token_id=eos_token_id, kv_tokens=kv_tokens, max_prefill_tokens=max_prefill_tokens
        )
        self._admission = Admission(kv_tokens, on_drop=self._batch.prefixes.leave, holds=self._batch.holds)
        self._steps_before_adoption = 0
        self._outcomes: dict[str, asyncio.Future[Generation]] = {}
        """By rollout, of every turn that waits or runs."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine") if threaded else None
        self._failure: BaseException | None = None
        self._stats = TorchStats()

    @property
    def stats(self) -> TorchStats:
        return self._stats

    def load(self) -> EngineLoad:
        return EngineLoad(
            kv_tokens_total=self._admission.room.total_tokens,
            kv_tokens_reserved=self._admission.room.used_tokens,
            kv_tokens_used=self._admission.room.used_tokens,
            num_running=self._batch.num_running,
            num_waiting=self._admission.num_waiting,
            num_steps=self._stats.decode_steps - self._steps_before_adoption,
            version=self._version,
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn. Cancelling it gives up the whole rollout: row, prefix and reservation."""
        if self._failure is not None:
            raise EngineError("the engine has stopped; start a new one") from self._failure
        if request.rollout_id in self._outcomes:
            raise EngineError(f"rollout {request.rollout_id} already has a turn here; ask for one at a time")
        self._admission.submit(request)
        outcome: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._outcomes[request.rollout_id] = outcome
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="torch-engine")
        self._wake.set()
        try:
            return await outcome
        except asyncio.CancelledError:
            self.release(request.rollout_id)
            raise

    def wake(self) -> None:
        """Make an idle engine ask `pace` again: something is due that it cannot see."""
        self._wake.set()

    def release(self, rollout_id: str) -> None:
        outcome = self._outcomes.pop(rollout_id, None)
        if outcome is not None and not outcome.done():
            outcome.set_result(self._generation(*self._batch.written(rollout_id), FinishReason.RELEASED))
        if self._batch.abandon(rollout_id):  # a row keeps its room until it is gone, between iterations
            self._admission.withdraw(rollout_id)
        else:
            self._forget(rollout_id)
        self._wake.set()

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """Swap weights; the caller sees to it that nothing runs."""
        while self._batch.is_abandoned and self._failure is None:
            await asyncio.sleep(0)  # the next iteration closes up the rows of turns that were given up
        if self._failure is not None:
            raise EngineError("the engine has stopped; start a new one") from self._failure
        if self._batch.num_running:
            raise EngineError(f"{self._batch.num_running} turns are running; let them end before new weights")
        load_weights(self._model, channel.get(version))
        self._admission.forget_prefixes()
        self._batch.drop_prefixes()
        self._steps_before_adoption = self._stats.decode_steps
        self._version = version

    async def close(self) -> None:
        self._failure = self._failure or EngineError("the engine was closed")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._thread is not None:
            self._thread.shutdown()
        self._fail_pending(self._failure)

    async def _run(self) -> None:
        """The background task; whatever goes wrong in it reaches everyone who waits."""
        try:
            while True:
                await self._iterate()
        except Exception as error:  # survivable: only this engine is lost, and each caller hears why
            self._failure = error
            self._fail_pending(error)

    async def _iterate(self) -> None:
        self._wake.clear()  # before the last look for work: what arrives during it is not slept over
        if self._pace is not None:
            await self._pace(self._is_runnable())
        if not self._is_runnable():
            await self._wake.wait()
            return
        begin = time.perf_counter()
        for row in self._batch.remove_abandoned():
            self._forget(row.request.rollout_id)
        for request in self._admission.admit(self._max_running - self._batch.num_running):
            self._batch.enter(request)
        for rollout_id in self._admission.make_room():
            self._batch.pause(rollout_id)
        if self._batch.num_running:
            await self._advance()
        self._stats = replace(self._stats, busy_s=self._stats.busy_s + time.perf_counter() - begin)
        await asyncio.sleep(0)  # those who received a result continue before the next iteration

    async def _advance(self) -> None:
        """One forward and its consequences."""
        batch = self._batch
        plan = batch.plan()
        if self._thread is None:
            drawn, logprobs = batch.compute(plan)
        else:
            loop = asyncio.get_running_loop()
            drawn, logprobs = await loop.run_in_executor(self._thread, batch.compute, plan)
        self._count(plan)
        for row in batch.rows:
            self._admission.grow(row.request.rollout_id)
        self._admission.end_step()
        for row in batch.settle(drawn, logprobs):
            self._finish(row)

    def _is_runnable(self) -> bool:
        return self._batch.num_running > 0 or self._admission.num_waiting > 0

    def _finish(self, row: Row) -> None:
        if row.abandoned:
            self._forget(row.request.rollout_id)
            return
        self._admission.hold(row.request.rollout_id)
        has_stopped = row.token_ids[-1] == self._eos_token_id
        finish = FinishReason.STOP if has_stopped else FinishReason.LENGTH
        outcome = self._outcomes.pop(row.request.rollout_id)
        if not outcome.done():  # else: cancelled in this very round, and about to be released
            outcome.set_result(self._generation(tuple(row.token_ids), tuple(row.logprobs), finish))

    def _generation(
        self, token_ids: tuple[int, ...], logprobs: tuple[float, ...], finish: FinishReason
    ) -> Generation:
        return Generation(token_ids=token_ids, logprobs=logprobs, finish=finish, version=self._version)

    def _forget(self, rollout_id: str) -> None:
        self._batch.prefixes.leave(rollout_id)
        if rollout_id in self._outcomes:  # given up and asked for again before its row was gone
            self._admission.end(rollout_id)
        else:
            self._admission.release(rollout_id)

    def _fail_pending(self, cause: BaseException) -> None:
        for outcome in self._outcomes.values():
            if not outcome.done():
                error = EngineError("the engine stopped before this turn ended; run the rollout again")
                error.__cause__ = cause
                outcome.set_exception(error)
        self._outcomes.clear()

    def _count(self, plan: Plan) -> None:
        stats, admission, num_rows = self._stats, self._admission, len(self._batch.rows)
        self._stats = replace(
            stats,
            decode_steps=stats.decode_steps + (plan.num_continuing > 0),
            decode_tokens=stats.decode_tokens + num_rows,
            prefill_tokens=stats.prefill_tokens + plan.num_prefill_tokens,
            reused_tokens=stats.reused_tokens + plan.num_reused_tokens,
            peak_running=max(stats.peak_running, num_rows),
            peak_kv_tokens=max(stats.peak_kv_tokens, admission.room.used_tokens + num_rows),
            pauses=admission.num_pauses,
            evicted_tokens=admission.evicted_tokens,
            recomputed_tokens=admission.recomputed_tokens,
        )


def load_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into the model, cast to its dtype; what is tied to a given tensor may be absent."""
    own = model.state_dict()
    unknown = sorted(weights.keys() - own.keys())
    given = {own[name].data_ptr() for name in weights.keys() & own.keys()}
    missing = sorted(name for name, tensor in own.items() if tensor.data_ptr() not in given)
    if unknown or missing:
        raise EngineError(f"these weights are of another model: missing {missing[:3]}, unknown {unknown[:3]}")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
