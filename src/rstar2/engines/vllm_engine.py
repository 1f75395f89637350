"""An `Engine` over vLLM: token ids in, token ids with their log-probs out.

vLLM runs in processes of its own (vllm_core.py) and decides by itself who runs, who waits and which prefixes
it keeps. This side keeps the book of turns, numbers the weights, and turns vLLM's failures into ours.

    adopt:  stale -> nothing runs, no cached prefix is left -> workers take the weights -> checksum -> fresh

A stale engine refuses to write. Prefixes are marked with the version besides, so that keys and values of two
versions could not mix even if some outlived the swap.

Draws of a turn depend on the rollout's seed and on the position where the turn begins: a turn that is stopped
and goes on is drawn otherwise from there than an unbroken one would have been. Log-probs depend on the batch
through float rounding, and with them, rarely, a draw.
"""

import asyncio
import contextlib
import gc
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rstar2.engines.counters import EngineStats
from rstar2.engines.turn_seed import turn_seed
from rstar2.engines.vllm_core import Core, VllmOptions, start_core
from rstar2.errors import CapacityError, EngineError
from rstar2.ports import WeightChannel
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest
from rstar2.weights import BroadcastChannel, FolderChannel

if TYPE_CHECKING:
    from vllm import SamplingParams

_Answer = TypeVar("_Answer")

_LOOK_S = 1.0
"""Between looks whether the core that is to answer lives."""
_SHUTDOWN_S = 30.0
"""Before the core's process is killed; longer than it grants its workers."""
_FINISHES = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "abort": FinishReason.RELEASED}


class VllmEngine:
    """Use `await VllmEngine.start(options, eos_token_id=...)`; `close` ends all its processes."""

    def __init__(self, core: Core, *, eos_token_id: int, version: int = 0) -> None:
        self._core, self._llm, self._statistics = core, core.llm, core.statistics
        self._eos_token_id = eos_token_id
        self._version = version
        self._num_adoptions = 0
        self._steps_before_adoption = 0
        self._is_stale = self._is_asleep = self._is_closed = False
        self._turns: dict[str, str] = {}
        """vLLM's name of the turn that a rollout has here."""
        self._num_turns_begun = 0
        self._aborts: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, options: VllmOptions, *, eos_token_id: int, version: int = 0) -> Self:
        core = await start_core(options)
        # Asked once and remembered: from here on `AsyncLLM.generate` enters a request without a pause, so
        # that `release` finds every turn that has begun.
        await core.llm.get_supported_tasks()
        return cls(core, eos_token_id=eos_token_id, version=version)

    @property
    def stats(self) -> EngineStats:
        return self._statistics.totals

    def load(self) -> EngineLoad:
        """vLLM tells of its last step; whoever came since then waits."""
        num_turns, statistics = len(self._turns), self._statistics
        used_tokens = statistics.kv_tokens_used if num_turns else 0
        num_running = min(statistics.num_running, num_turns)
        return EngineLoad(
            kv_tokens_total=statistics.kv_tokens_total,
            kv_tokens_reserved=used_tokens,
            kv_tokens_used=used_tokens,
            num_running=num_running,
            num_waiting=num_turns - num_running,
            num_steps=statistics.totals.decode_steps - self._steps_before_adoption,
            version=self._version,
            context_tokens=self._core.max_total_tokens,
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn. Cancelling it gives it up."""
        self._check_alive()
        if self._is_stale:
            raise EngineError("the engine waits for new weights; adopt a version first")
        self._check_room(request)
        if request.rollout_id in self._turns:
            raise EngineError(f"rollout {request.rollout_id} already has a turn here; ask for one at a time")
        self._num_turns_begun += 1
        turn = f"{request.rollout_id}#{self._num_turns_begun}"
        self._turns[request.rollout_id] = turn
        try:
            return await self._write(turn, request)
        finally:
            if self._turns.get(request.rollout_id) == turn:
                del self._turns[request.rollout_id]

    def release(self, rollout_id: str) -> None:
        """The turn ends with what it has. Prefixes are vLLM's to forget: they go when room is short."""
        turn = self._turns.pop(rollout_id, None)
        if turn is not None:
            abort = asyncio.create_task(self._abort(turn))
            self._aborts.add(abort)
            abort.add_done_callback(self._aborts.discard)

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """Swap weights; the caller sees to it that nothing runs. Stale until it has succeeded."""
        self._check_alive()
        self._check_idle()
        self._is_stale = True
        if isinstance(channel, BroadcastChannel):
            await self._receive(channel, version)
        elif isinstance(channel, FolderChannel):
            await self._read(channel, version)
        else:
            with tempfile.TemporaryDirectory(prefix="rstar2-weights-") as folder:
                spool = FolderChannel(Path(folder))
                await asyncio.to_thread(lambda: spool.put(version, channel.get(version)))
                await self._read(spool, version)
        self._version = version
        self._num_adoptions += 1
        self._steps_before_adoption = self.stats.decode_steps
        self._is_stale = False

    async def sleep(self, *, keep_weights: bool) -> None:
        """Give the GPU's memory back; without `keep_weights`, stale until new ones are adopted."""
        self._check_alive()
        self._check_idle()
        if not self._core.can_sleep:
            raise EngineError("this engine cannot sleep; start it with can_sleep, on a GPU")
        if self._is_asleep:
            return
        with _translated("fall asleep"):
            await self._answer(self._llm.sleep(level=1 if keep_weights else 2))
        self._is_asleep = True
        self._is_stale = self._is_stale or not keep_weights

    async def wake(self) -> None:
        """Take the memory again, as `adopt` does by itself."""
        self._check_alive()
        with _translated("wake up"):
            await self._answer(self._llm.wake_up())
        self._is_asleep = False

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await asyncio.gather(*self._aborts, *map(self._abort, self._turns.values()))
            await asyncio.to_thread(self._llm.shutdown, _SHUTDOWN_S)
            del self._core, self._llm
            # vLLM hid its objects from the garbage collector; left so, they would outlive their modules at
            # the interpreter's end, and complain.
            gc.unfreeze()

    async def _write(self, turn: str, request: GenerationRequest) -> Generation:
        from vllm.inputs import tokens_input

        prompt = tokens_input(list(request.token_ids), cache_salt=f"{self._version}.{self._num_adoptions}")
        with _translated("write a turn"):
            # Of `generate` there is but one output, the whole turn.
            async for output in self._llm.generate(prompt, self._sampling(request), turn):
                written = output.outputs[0]
        if self._is_closed:
            raise EngineError("the engine was closed before this turn ended; run the rollout again")
        if written.finish_reason not in _FINISHES:  # an attempt of which nobody knows what came of it
            raise EngineError(
                f"vLLM broke a turn off ({written.finish_reason}): its log says why; run the rollout again"
            )
        return Generation(
            token_ids=tuple(written.token_ids),
            logprobs=tuple(written.logprobs.logprobs) if written.token_ids else (),
            finish=_FINISHES[written.finish_reason],
            version=self._version,
        )

    def _sampling(self, request: GenerationRequest) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=turn_seed(request),
            stop_token_ids=[self._eos_token_id],
            logprobs=0,  # of the drawn token alone
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def _abort(self, turn: str) -> None:
        from vllm.exceptions import VLLMError

        with contextlib.suppress(VLLMError):  # a dead core has told every turn already
            await self._llm.abort(turn)

    async def _read(self, channel: FolderChannel, version: int) -> None:
        published = channel.checksum(version)
        await self._swap("read_published_weights", (str(channel.folder), version), published)

    async def _receive(self, channel: BroadcastChannel, version: int) -> None:
        published = await asyncio.to_thread(channel.checksum, version)
        place = (channel.host, channel.port, channel.limit_s)
        await self._swap("receive_broadcast_weights", (*place, version), published)

    async def _swap(self, method: str, where: tuple[object, ...], published: str) -> None:
        """All workers take the weights, without old keys and values left; EngineError if one got others."""
        with _translated("take new weights"):
            taken = await self._answer(self._taken(method, where))
        if set(taken) != {published}:
            raise EngineError("a worker took other weights than were published; publish them again")

    async def _taken(self, method: str, where: tuple[object, ...]) -> list[str]:
        """Each worker's checksum of what it has taken."""
        if self._is_asleep:
            await self._llm.wake_up(tags=["weights"])
        await self._llm.pause_generation(mode="abort", clear_cache=True)
        taken: list[str] = await self._llm.collective_rpc(method, args=where)
        if self._is_asleep:
            await self._llm.wake_up(tags=["kv_cache"])
            self._is_asleep = False
        await self._llm.resume_generation()
        return taken

    async def _answer(self, call: Coroutine[Any, Any, _Answer]) -> _Answer:
        """The core's, to anything but a turn: vLLM lets such a call wait for ever if its core dies."""
        answer = asyncio.create_task(call)
        try:
            while not (await asyncio.wait([answer], timeout=_LOOK_S))[0]:
                if self._llm.errored:
                    raise EngineError("its core has died")
            return answer.result()
        finally:
            answer.cancel()

    def _check_alive(self) -> None:
        if self._is_closed or self._llm.errored:
            raise EngineError("the engine has stopped; start a new one")

    def _check_idle(self) -> None:
        if self._turns:
            raise EngineError(f"{len(self._turns)} turns are running; let them end before new weights")

    def _check_room(self, request: GenerationRequest) -> None:
        """CapacityError if the turn can never be written here."""
        num_tokens = len(request.token_ids) + request.max_new_tokens
        if num_tokens > request.max_total_tokens:
            raise CapacityError(
                f"{len(request.token_ids)} tokens and {request.max_new_tokens} new ones exceed "
                f"max_total_tokens {request.max_total_tokens}; lower max_new_tokens"
            )
        if request.max_total_tokens > self._core.max_total_tokens:
            raise CapacityError(
                f"max_total_tokens {request.max_total_tokens} exceeds the {self._core.max_total_tokens} that "
                "the model and its KV room allow; shorten the rollout or raise engine.kv_tokens"
            )


@contextlib.contextmanager
def _translated(purpose: str) -> Iterator[None]:
    """vLLM's failures as ours."""
    try:
        yield
    except Exception as error:  # a call that failed in its core comes as a bare Exception
        raise EngineError(f"vLLM could not {purpose} ({error}); start a new engine") from error
