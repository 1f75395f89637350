"""HTTP to a server that speaks OpenAI's API: questions, answers, and what is asked again.

Knows nothing of turns or tokens. A connection that breaks and a server that is busy are tried again, which is
safe, as a completion with a seed may be written twice; then, and for any refusal, EngineError says why.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from rstar2.errors import EngineError

Json = dict[str, Any]

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Before each further attempt."""
_CONNECT_S = 10.0
_LONGEST_ANSWER_S = 3600.0
"""Before a server that says nothing is given up; a turn may wait for its room there."""
_BUSY = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of a server, or of a proxy before it, that may answer the next time."""


class CompletionServer:
    """One server; `url` ends in /v1, as clients of OpenAI's API write it."""

    def __init__(self, url: str, *, token: str = "", pauses_s: tuple[float, ...] = PAUSES_S) -> None:
        self.url = url.rstrip("/")
        self.num_retries = 0
        self._pauses_s = pauses_s
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=aiohttp.ClientTimeout(total=_LONGEST_ANSWER_S, sock_connect=_CONNECT_S),
            connector=aiohttp.TCPConnector(limit=0),  # the engine bounds what is under way
        )

    async def models(self) -> list[Json]:
        """The cards of all models that it has."""
        cards: list[Json] = (await self._ask("GET", "models"))["data"]
        return cards

    async def complete(self, body: Mapping[str, object]) -> Json:
        """The answer to one request for a completion."""
        return await self._ask("POST", "completions", body)

    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        for pause_s in (*self._pauses_s, None):
            trouble = "it broke the connection"
            try:
                async with self._session.request(method, f"{self.url}/{path}", json=body) as response:
                    if response.ok:
                        answer: Json = await response.json()
                        return answer
                    trouble = f"{response.status}: {(await response.text())[:300]}"
                    if response.status not in _BUSY:
                        raise EngineError(f"{self.url}/{path} refused: {trouble}")
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                trouble = str(error) or type(error).__name__
            if pause_s is not None:
                self.num_retries += 1
                await asyncio.sleep(pause_s)
        raise EngineError(f"{self.url} did not answer {len(self._pauses_s) + 1} times (the last: {trouble})")
