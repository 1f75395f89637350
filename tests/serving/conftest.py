"""A server over a scripted engine, in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from rstar2.engines.scripted import ScriptedEngine
from rstar2.protocol.template import Template, call_text, chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, train_tokenizer
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.serving import Agent, Served, make_app
from rstar2.tools import Registry
from rstar2.tools.calculator import calculator_tool
from rstar2.types import GenerationRequest

Visit: TypeAlias = Callable[[ClientSession], Awaitable[None]]


@pytest.fixture(scope="session")
def tokenizer() -> HuggingFaceTokenizer:
    texts = [call_text("print(2 * 3)"), "What is 2 times 3? 42 and no more."] * 20
    return train_tokenizer(texts, vocab_size=400, chat_template=chatml_template())


class Scene:
    """A server whose model writes the given turns, over and over; the engine is there to be looked at."""

    def __init__(
        self,
        tokenizer: HuggingFaceTokenizer,
        *turns: str,
        with_tools: bool = False,
        kv_tokens: int = 3000,
        num_steps: int = 1,
        token: str | None = None,
    ) -> None:
        self.turns = [(*tokenizer.encode(turn), tokenizer.eos_token_id) for turn in turns]
        self.engine = ScriptedEngine(self._script, kv_tokens=kv_tokens, num_steps=num_steps)
        self.dispatcher = Dispatcher([self.engine])
        tools = Registry([calculator_tool()])
        agent = Agent(tools=tools, call_tool=tools.call, max_turns=4, tool_response_chars=200)
        self.served = Served(
            name="tiny",
            template=Template(tokenizer, system="", user="{question}", tools=tools.schemas),
            engines=[self.engine],
            dispatcher=self.dispatcher,
            context_tokens=kv_tokens,
            max_tokens=200,
            agent=agent if with_tools else None,
        )
        self._token = token
        self._tokenizer = tokenizer

    def visited(self, visit: Visit) -> None:
        """Serve while `visit` talks to the server."""

        async def run() -> None:
            app = make_app(self.served, token=self._token)
            async with TestServer(app) as server, ClientSession(str(server.make_url("/"))) as session:
                await visit(session)
            await self.dispatcher.close()

        asyncio.run(run())

    def _script(self, request: GenerationRequest) -> tuple[int, ...]:
        """The rest of the turn that is being written: slices end wherever they end."""
        written = request.token_ids[request.prompt_length :]
        for turn in self.turns:
            if len(written) < len(turn) and turn[: len(written)] == written:
                return turn[len(written) :]
            end = _end_of(written, turn, self._tokenizer)
            written = written[end:]
        raise AssertionError("the script is over")


def _end_of(written: tuple[int, ...], turn: tuple[int, ...], tokenizer: HuggingFaceTokenizer) -> int:
    """Where the next turn begins: after this one, and after the tool response with its opening."""
    start = tokenizer.encode("<|im_start|>assistant\n<reason>")
    for place in range(len(turn), len(written)):
        if list(written[place : place + len(start)]) == start:
            return place + len(start)
    return len(written)


@pytest.fixture
def scene(tokenizer: HuggingFaceTokenizer) -> Callable[..., Scene]:
    return lambda *turns, **options: Scene(tokenizer, *turns, **options)
