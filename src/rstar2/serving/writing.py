"""One choice, written by the engines.

An engine gives a turn when it has ended. Where a client wants to read along, or text decides when to stop,
the turn is asked for in slices: the engine keeps the prefix in between, and as its draws depend on seed and
position alone, slices make the same text as the whole. Whoever stops listening frees the engine's room.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from rstar2.ports import Tokenizer
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.serving.served import ReadToken
from rstar2.serving.text import StoppedText
from rstar2.serving.tool_calls import FunctionCall
from rstar2.types import FinishReason, Generation, GenerationRequest

SLICE_TOKENS = 8
"""A slice costs the engine a copy of the row's keys and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one choice is asked for."""

    id: str
    group_id: str
    """Choices of one group have one prompt, which is computed once."""
    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stops: tuple[str, ...]
    is_streamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStep:
    """A turn that called a tool of the server's."""

    content: str
    """What the model wrote, its call included."""
    status: str
    response: str
    """What the model read, or would have read had there been a next turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Some more of a choice."""

    text: str = ""
    calls: tuple[FunctionCall, ...] = ()
    steps: tuple[ToolStep, ...] = ()
    token_ids: tuple[int, ...] = ()
    """Tokens of the text, also of what is still held back."""
    logprobs: tuple[float, ...] = ()
    read: tuple[ReadToken, ...] | None = None
    """Of every token but the first, in place of `logprobs`; None unless the prompt was read back."""
    num_tokens: int = 0
    """Drawn for it, those that end turns or make calls included."""
    finish: str | None = None
    """`stop`, `length` or `tool_calls`; None while more is to come."""


async def write(dispatcher: Dispatcher, tokenizer: Tokenizer, task: Task) -> AsyncGenerator[Delta, None]:
    """The turn that follows the prompt."""
    slice_tokens = SLICE_TOKENS if task.is_streamed or task.stops else task.max_tokens
    text = StoppedText(tokenizer, task.stops)
    written: tuple[int, ...] = ()
    delta = Delta()
    try:
        while delta.finish is None:
            num_left = task.max_tokens - len(written)
            part = await dispatcher.generate(request_for(task, written, min(slice_tokens, num_left)))
            written += part.token_ids
            delta = cut(part, text, is_last=len(written) == task.max_tokens)
            yield delta
    finally:
        dispatcher.release(task.id, is_complete=delta.finish is not None)


def cut(part: Generation, text: StoppedText, *, is_last: bool) -> Delta:
    """What of a generation belongs to the answer; `is_last` if nothing may follow it."""
    has_ended = part.finish is FinishReason.STOP
    token_ids = part.token_ids[:-1] if has_ended else part.token_ids
    passed, count = text.push(token_ids)
    finish = "stop" if has_ended or text.is_stopped else "length" if is_last else None
    return Delta(
        text=passed if finish is None else passed + text.rest(),
        token_ids=token_ids[:count],
        logprobs=part.logprobs[:count],
        num_tokens=count if text.is_stopped else len(part.token_ids),
        finish=finish,
    )


def request_for(task: Task, written: tuple[int, ...], max_new_tokens: int) -> GenerationRequest:
    """The next slice of a choice."""
    return GenerationRequest(
        rollout_id=task.id,
        group_id=task.group_id,
        token_ids=task.prompt + written,
        prompt_length=len(task.prompt),
        max_new_tokens=max_new_tokens,
        max_total_tokens=len(task.prompt) + task.max_tokens,
        temperature=task.temperature,
        top_p=task.top_p,
        seed=task.seed,
    )
