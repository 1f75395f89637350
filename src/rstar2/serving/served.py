"""What is served: a model's engines, its chat template and its tools, from whoever assembled them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rstar2.errors import CapacityError
from rstar2.ports import Engine
from rstar2.protocol.template import Template
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.tools import Registry
from rstar2.types import GenerationRequest, ToolCall, ToolResult

_NEVER_FITS = GenerationRequest(
    rollout_id="health", group_id="health", token_ids=(0,), prompt_length=1, max_new_tokens=1,
    max_total_tokens=sys.maxsize, temperature=0.0, top_p=1.0, seed=0,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadToken:
    """What the policy thought of a token that it was given."""

    logprob: float
    """Nats, at temperature 1."""
    likeliest_id: int
    """The token that it held for the likeliest in this place."""
    likeliest_logprob: float


Read = Callable[[Sequence[int]], Awaitable[Sequence[ReadToken]]]
"""Tokens -> one verdict for each but the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Tools that the server itself runs."""

    tools: Registry
    call_tool: Callable[[str, ToolCall], Awaitable[ToolResult]]
    """(rollout id, call) -> result, tried again where the world failed."""
    max_turns: int
    tool_response_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model."""

    name: str
    """As clients ask for it."""
    template: Template
    engines: Sequence[Engine]
    dispatcher: Dispatcher
    """Over the engines."""
    context_tokens: int
    """Longest prompt and answer together: what the model was made for, or less if no engine has the room."""
    max_tokens: int
    """Of an answer, where the client does not say."""
    agent: Agent | None = None
    """None if calls are for the client to run."""
    read: Read | None = None
    """None if prompts are not read back."""

    async def has_engine(self) -> bool:
        """Whether one still takes turns.

        An engine does not tell unless it is asked for a turn: for one that can never fit, those that live
        raise CapacityError at once, however busy they are, and those that have stopped say that they have.
        """
        asked = (engine.generate(_NEVER_FITS) for engine in self.engines)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        return any(isinstance(outcome, CapacityError) for outcome in outcomes)
