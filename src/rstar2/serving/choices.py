"""All choices of one request, written at the same time.

requests -> tasks -> write | play -> deltas, as they come, each with the number of its choice
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

from rstar2.rollout.collector import rollout_seed
from rstar2.serving.agent import play
from rstar2.serving.echo import echo
from rstar2.serving.prompt import chat_prompt, plain_prompt
from rstar2.serving.refusal import CONTEXT_TOO_LONG, Refusal
from rstar2.serving.requests import MAX_CHOICES, ChatRequest, CompletionRequest, TextRequest
from rstar2.serving.served import Agent, Served
from rstar2.serving.tool_calls import CallReader
from rstar2.serving.writing import Delta, Task, write

Numbered = AsyncGenerator[tuple[int, Delta], None]


def chat_tasks(served: Served, request: ChatRequest) -> list[Task]:
    """One per choice, all with the conversation as their prompt."""
    agent = _agent_for(served, request)
    if agent is not None and request.tools:
        raise Refusal("this server runs its own tools: leave out yours, or start it without --tools")
    tools = request.offered if agent is None else [dict(schema.shown) for schema in agent.tools.schemas]
    prompt = chat_prompt(served.template.tokenizer, request.messages, tools)
    max_tokens = request.max_completion_tokens or request.max_tokens
    return _tasks(served, request, prompt, max_tokens, first=0)


def completion_tasks(served: Served, request: CompletionRequest) -> list[Task]:
    """n per prompt, in the order of the prompts."""
    if not 1 <= len(request.prompts) * request.n <= MAX_CHOICES:
        raise Refusal(f"ask for 1 to {MAX_CHOICES} choices in all, over all prompts", param="prompt")
    tasks: list[Task] = []
    for prompt in request.prompts:
        token_ids = plain_prompt(served.template.tokenizer, prompt)
        tasks += _tasks(served, request, token_ids, request.max_tokens, first=len(tasks))
    return tasks


def written_chat(served: Served, request: ChatRequest, tasks: Sequence[Task]) -> Numbered:
    """Deltas of all choices; with tools of the client's, calls are told from text."""
    agent = _agent_for(served, request)
    if agent is not None:
        return merged([play(served, agent, task) for task in tasks])
    deltas = [write(served.dispatcher, served.template.tokenizer, task) for task in tasks]
    return merged([_with_calls(each) for each in deltas] if request.offered else deltas)


def written_completions(served: Served, request: CompletionRequest, tasks: Sequence[Task]) -> Numbered:
    """Deltas of all choices; text that looks like a call is text."""
    if request.echo:
        if served.read is None:
            raise Refusal("this server does not read prompts back: start it with --echo", param="echo")
        return merged([echo(served.dispatcher, served.template.tokenizer, served.read, t) for t in tasks])
    return merged([write(served.dispatcher, served.template.tokenizer, task) for task in tasks])


def _agent_for(served: Served, request: ChatRequest) -> Agent | None:
    """Who runs the calls: nobody if the client wants none."""
    return None if request.tool_choice == "none" else served.agent


def _tasks(
    served: Served, request: TextRequest, prompt: tuple[int, ...], max_tokens: int | None, *, first: int
) -> list[Task]:
    end = served.template.tokenizer.eos_token_id
    if not {end}.issuperset(request.stop_token_ids):
        raise Refusal(f"the only token that ends a turn here is {end}", param="stop_token_ids")
    room = served.context_tokens - len(prompt)
    fewest = 1 if max_tokens is None else max_tokens
    if room < fewest:
        raise Refusal(
            f"{len(prompt)} tokens of prompt and {fewest} of answer exceed the longest context, "
            f"{served.context_tokens} tokens: shorten the prompt or lower max_tokens",
            code=CONTEXT_TOO_LONG,
        )
    seed = secrets.randbits(63) if request.seed is None else request.seed
    group_id = uuid4().hex
    return [
        Task(
            id=f"{group_id}/{index}",
            group_id=group_id,
            prompt=prompt,
            max_tokens=min(room, served.max_tokens) if max_tokens is None else max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=rollout_seed(seed, str(first + index)),
            stops=request.stops,
            is_streamed=request.stream,
        )
        for index in range(request.n)
    ]


async def _with_calls(deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same deltas, with calls instead of their text."""
    reader = CallReader()
    async for delta in deltas:
        delta = replace(delta, text=reader.push(delta.text))
        if delta.finish is not None:
            rest, calls = reader.end()
            finish = "tool_calls" if calls else delta.finish
            delta = replace(delta, text=delta.text + rest, calls=calls, finish=finish)
        yield delta


async def merged(choices: Sequence[AsyncGenerator[Delta, None]]) -> Numbered:
    """What they give, in the order in which it comes; the first failure of one ends all."""
    came: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue()

    async def forward(number: int, deltas: AsyncGenerator[Delta, None]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    came.put_nowait((number, delta))
            came.put_nowait((number, None))
        except Exception as error:  # raised below, to whoever asked for the choices
            came.put_nowait((number, error))

    tasks = [asyncio.create_task(forward(number, deltas)) for number, deltas in enumerate(choices)]
    num_left = len(tasks)
    try:
        while num_left:
            number, delta = await came.get()
            if isinstance(delta, Exception):
                raise delta
            if delta is None:
                num_left -= 1
            else:
                yield number, delta
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
