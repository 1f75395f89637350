"""An `Engine` over somebody else's server that speaks OpenAI's completions, with token ids both ways.

For evaluation and chat: its weights are not ours, so none can be adopted. The server must take a prompt as
token ids and give back those that it drew (`return_token_ids`, as vLLM and `rstar2 serve` do): a rollout is
made of the tokens that were drawn, and text does not tell which. It is tried once, on connecting.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from rstar2.engines.completion_server import CompletionServer, Json
from rstar2.engines.turn_seed import turn_seed
from rstar2.errors import CapacityError, EngineError
from rstar2.ports import WeightChannel
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStats:
    """Counters since construction."""

    decode_tokens: int = 0
    """Tokens that came back."""
    engine_retries: int = 0
    """Requests that were sent again."""
    peak_running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """How much of the server to use."""

    kv_tokens: int
    """Of all turns that are with it at a time, each counted as what it may become."""
    max_running: int
    """Turns that are with it at a time."""


class RemoteEngine:
    """Use `await RemoteEngine.connect(server, ...)`; it closes the server's connection."""

    def __init__(
        self,
        server: CompletionServer,
        *,
        model: str,
        max_total_tokens: int,
        eos_token_id: int,
        limits: RemoteLimits,
    ) -> None:
        self._server = server
        self._model = model
        self._max_total_tokens = max_total_tokens
        self._eos_token_id = eos_token_id
        self._limits = limits
        self._rows = asyncio.Semaphore(limits.max_running)
        self._turns: dict[str, asyncio.Task[Generation]] = {}
        self._tokens_at_end: dict[str, int] = {}
        """Of each turn that is with the server."""
        self._is_closed = False
        self._stats = RemoteStats()

    @classmethod
    async def connect(
        cls, server: CompletionServer, *, model: str = "", eos_token_id: int, limits: RemoteLimits
    ) -> Self:
        """EngineError if the server has no such model, or does not speak token ids.

        Without a name, the model is the only one that the server has.
        """
        try:
            card = _chosen(await server.models(), model, server.url)
            longest = min(limits.kv_tokens, card.get("max_model_len") or limits.kv_tokens)
            engine = cls(
                server, model=card["id"], max_total_tokens=longest, eos_token_id=eos_token_id, limits=limits
            )
            await engine._try_token_ids()
        except BaseException:
            await server.close()
            raise
        return engine

    @property
    def stats(self) -> RemoteStats:
        return replace(self._stats, engine_retries=self._server.num_retries)

    def load(self) -> EngineLoad:
        """Of our own turns alone; what others do there is not seen."""
        used_tokens = min(self._limits.kv_tokens, sum(self._tokens_at_end.values()))
        return EngineLoad(
            kv_tokens_total=self._limits.kv_tokens,
            kv_tokens_reserved=used_tokens,
            kv_tokens_used=used_tokens,
            num_running=len(self._tokens_at_end),
            num_waiting=len(self._turns) - len(self._tokens_at_end),
            version=0,
            context_tokens=self._max_total_tokens,
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        if self._is_closed:
            raise EngineError("the engine was closed; connect a new one")
        if request.rollout_id in self._turns:
            raise EngineError(f"rollout {request.rollout_id} already has a turn here; ask for one at a time")
        if request.max_total_tokens > self._max_total_tokens:
            raise CapacityError(
                f"a rollout of up to {request.max_total_tokens} tokens exceeds the {self._max_total_tokens} "
                "that the server, or engine.kv_tokens, allows; lower max_response_tokens"
            )
        turn = self._turns[request.rollout_id] = asyncio.create_task(self._write(request))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() or _is_cancelled():
                raise
            if self._is_closed:
                raise EngineError("the engine was closed before this turn ended; run it again") from None
            return _generation((), (), FinishReason.RELEASED)
        finally:
            if self._turns.get(request.rollout_id) is turn:
                del self._turns[request.rollout_id]

    def release(self, rollout_id: str) -> None:
        """A turn ends with nothing: what the server had written of it is not known."""
        turn = self._turns.pop(rollout_id, None)
        if turn is not None:
            turn.cancel()

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        raise EngineError(
            f"the weights of {self._server.url} are not ours to swap; train with another engine.kind"
        )

    async def close(self) -> None:
        self._is_closed = True
        turns = list(self._turns.values())
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        await self._server.close()

    async def _write(self, request: GenerationRequest) -> Generation:
        async with self._rows:
            self._tokens_at_end[request.rollout_id] = len(request.token_ids) + request.max_new_tokens
            self._stats = replace(
                self._stats, peak_running=max(self._stats.peak_running, len(self._tokens_at_end))
            )
            try:
                answer = await self._server.complete(self._body(request))
            finally:
                del self._tokens_at_end[request.rollout_id]
        generation = self._read(answer)
        num_tokens = self._stats.decode_tokens + len(generation.token_ids)
        self._stats = replace(self._stats, decode_tokens=num_tokens)
        return generation

    def _body(self, request: GenerationRequest) -> Json:
        return {
            "model": self._model,
            "prompt": list(request.token_ids),
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": turn_seed(request),
            "stop_token_ids": [self._eos_token_id],
            "logprobs": 0,
            "return_token_ids": True,
        }

    def _read(self, answer: Json) -> Generation:
        choice = answer["choices"][0]
        token_ids = choice.get("token_ids")
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs")
        if token_ids is None or logprobs is None or len(token_ids) != len(logprobs):
            raise EngineError(
                f"{self._server.url} does not tell which tokens it drew: use `rstar2 serve`, or vLLM 0.10.2 "
                "or later"
            )
        reason = choice["finish_reason"]
        if reason not in ("stop", "length"):  # it gave up: an attempt of which nobody knows what came of it
            raise EngineError(
                f"{self._server.url} broke a turn off ({reason}): its log says why; run it again"
            )
        if reason == "length":
            return _generation(token_ids, logprobs, FinishReason.LENGTH)
        if answer["usage"]["completion_tokens"] > len(token_ids):  # it keeps the stop token to itself
            token_ids, logprobs = [*token_ids, self._eos_token_id], [*logprobs, 0.0]
        return _generation(token_ids, logprobs, FinishReason.STOP)

    async def _try_token_ids(self) -> None:
        """One token after the stop token, which every vocabulary has."""
        ids = (self._eos_token_id,)
        request = GenerationRequest(
            rollout_id="", group_id="", token_ids=ids, prompt_length=1, max_new_tokens=1, max_total_tokens=2,
            temperature=0.0, top_p=1.0, seed=0,
        )  # fmt: skip
        self._read(await self._server.complete(self._body(request)))


def _chosen(cards: Sequence[Json], name: str, url: str) -> Json:
    """The card of the model with this name, or of the only one."""
    names = [card["id"] for card in cards]
    if name in names:
        return cards[names.index(name)]
    if name or len(cards) != 1:
        raise EngineError(f"{url} has the models {', '.join(names) or '(none)'}: choose one as engine.model")
    return cards[0]


def _generation(token_ids: Sequence[int], logprobs: Sequence[float], finish: FinishReason) -> Generation:
    return Generation(token_ids=tuple(token_ids), logprobs=tuple(logprobs), finish=finish, version=0)


def _is_cancelled() -> bool:
    """Whether somebody wants the present task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
