"""A model that is asked over OpenAI's HTTP API, by many at once, and asked again while its server fails.

What the server cannot do now (no connection, 429, 5xx, no answer in time) is tried again for as long as
`patience_s`; then it is an EngineError, and what was answered before is kept by whoever asked. What it says
to be wrong with one request (400, 413, 422) is None: no answer. Any other refusal is an error of the input,
and so are settings that it does not take, which show in that it refuses even a greeting with them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import aiohttp

from rstar2.config import ServedModelSection
from rstar2.errors import EngineError, InputError

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_BAD_REQUEST = (400, 413, 422)
_LONGEST_QUOTE_CHARS = 300
_GREETING = ({"role": "user", "content": "Say hello."},)

log = logging.getLogger(__name__)

ChatMessages = Sequence[Mapping[str, Any]]


class Asked(Protocol):
    """What label check and rewriting see of a model."""

    async def replies(self, messages: ChatMessages, *, count: int) -> list[str] | None:
        """One to `count` replies; None if the server refuses this request."""


class ServedModel:
    """One model behind one URL; use as an async context."""

    def __init__(
        self,
        section: ServedModelSection,
        *,
        token: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._section = section
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._sleep = sleep
        self._takes_settings = False
        self._greeting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._section.reply_limit_s),
            connector=aiohttp.TCPConnector(limit=self._section.num_requests),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def replies(self, messages: ChatMessages, *, count: int) -> list[str] | None:
        """As `Asked` says; InputError if it is the settings that are refused, and not these messages."""
        try:
            return await self._patiently(self._body(messages, count))
        except _Refused as refusal:
            await self._greet(count, refusal)
            return None

    async def _greet(self, count: int, refusal: "_Refused") -> None:
        """Once. A refusal comes sooner than any answer, so that none has come yet says nothing."""
        async with self._greeting:
            if self._takes_settings:
                return
            try:
                await self._patiently(self._body(_GREETING, count))
            except _Refused as error:
                raise InputError(
                    f"{self._section.url} refuses every request ({error}): mend max_tokens, token_limit, "
                    "temperature, top_p or answers_per_request"
                ) from error
            self._takes_settings = True
            log.warning("the model at %s refuses a request, perhaps more (%s)", self._section.url, refusal)

    def _body(self, messages: ChatMessages, count: int) -> dict[str, Any]:
        section = self._section
        return {
            "model": section.model,
            "messages": list(messages),
            "n": count,
            "temperature": section.temperature,
            "top_p": section.top_p,
            section.token_limit: section.max_tokens,
        }

    async def _patiently(self, body: Mapping[str, Any]) -> list[str]:
        section, pause_s = self._section, _FIRST_PAUSE_S
        give_up_at = time.monotonic() + section.patience_s
        while True:
            try:
                return await self._once(body)
            except (aiohttp.ClientError, TimeoutError, _Busy) as error:
                if time.monotonic() + pause_s > give_up_at:
                    raise EngineError(
                        f"the model at {section.url} does not answer ({_named(error)}): see to its server; "
                        "the same command then goes on"
                    ) from error
            await self._sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _once(self, body: Mapping[str, Any]) -> list[str]:
        url = self._section.url.rstrip("/") + "/chat/completions"
        async with self._http.post(url, json=body) as response:
            if response.status == 429 or response.status >= 500:
                raise _Busy(f"HTTP {response.status}")
            if response.status != 200:
                said = f"{response.status}: {(await response.text())[:_LONGEST_QUOTE_CHARS]}"
                if response.status in _BAD_REQUEST:
                    raise _Refused(said)
                raise InputError(f"{url} refuses ({said}): mend url, model or token_file")
            try:
                answer = await response.json(content_type=None)
            except ValueError as error:
                raise _Busy("an answer that is no JSON") from error
            return _texts(answer)


class _Refused(Exception):
    """Asking again is of no use."""


class _Busy(Exception):
    """Try again later."""


def _texts(answer: Any) -> list[str]:
    """The text of each choice; thoughts that the server keeps apart are not part of it."""
    try:
        texts = [_whole(choice) for choice in answer["choices"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _Busy("an answer that is no chat completion") from error
    if not texts:
        raise _Busy("an answer without choices")
    return texts


def _whole(choice: Mapping[str, Any]) -> str:
    """Its text; nothing if it was cut off by the limit of tokens: its end, the answer, is missing."""
    return "" if choice.get("finish_reason") == "length" else choice["message"]["content"] or ""


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
