"""One choice, written by the agent loop: the server runs the tools, and the client gets the last turn.

Turns whose calls were answered travel beside it, as steps. A client that streams gets all of it when the
loop has ended: until a turn is over, nobody knows whether it is the last.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

from rstar2.ports import Tokenizer
from rstar2.protocol.response import response_text
from rstar2.rollout.agent import RolloutLimits, run_rollout
from rstar2.serving.served import Agent, Served
from rstar2.serving.text import StoppedText
from rstar2.serving.writing import Delta, Task, ToolStep, cut
from rstar2.types import (
    Ending,
    FinishReason,
    Generation,
    MalformedCall,
    Problem,
    Rollout,
    Segment,
    Source,
    Turn,
)


async def play(served: Served, agent: Agent, task: Task) -> AsyncGenerator[Delta, None]:
    """The turns that follow the prompt, in one piece."""
    is_complete = False
    try:
        rollout = await run_rollout(
            Problem(id=task.group_id, question="", answer=""),
            index=0,
            rollout_id=task.id,
            seed=task.seed,
            template=served.template,
            limits=_limits(agent, task),
            generate=served.dispatcher.generate,
            call_tool=partial(agent.call_tool, task.id),
            parse=agent.tools.parse,
            prompt=task.prompt,
        )
        is_complete = True
    finally:
        served.dispatcher.release(task.id, is_complete=is_complete)
        await agent.tools.end(task.id)
    yield _delta(rollout, served.template.tokenizer, task.stops, agent.tool_response_chars)


def _limits(agent: Agent, task: Task) -> RolloutLimits:
    return RolloutLimits(
        max_response_tokens=task.max_tokens,
        max_turns=agent.max_turns,
        temperature=task.temperature,
        top_p=task.top_p,
        tool_response_chars=agent.tool_response_chars,
    )


def _delta(rollout: Rollout, tokenizer: Tokenizer, stops: Sequence[str], tool_response_chars: int) -> Delta:
    """The last turn as the answer, cut at a stop text; a rollout that met a limit ends by `length`."""
    text = StoppedText(tokenizer, stops)
    last = cut(_generation(_last_turn(rollout), tokenizer.eos_token_id), text, is_last=True)
    met_limit = rollout.ending is not Ending.FINISHED and not text.is_stopped
    return replace(
        last,
        steps=tuple(_step(turn, tool_response_chars) for turn in rollout.turns if turn.status is not None),
        num_tokens=rollout.num_model_tokens,
        finish="length" if met_limit else last.finish,
    )


def _last_turn(rollout: Rollout) -> Segment:
    return next(segment for segment in reversed(rollout.segments) if segment.source is Source.MODEL)


def _generation(segment: Segment, eos_token_id: int) -> Generation:
    """The turn as its engine gave it: it may have ended although the rollout met a limit."""
    has_ended = segment.token_ids[-1] == eos_token_id
    return Generation(
        token_ids=segment.token_ids,
        logprobs=segment.logprobs,
        finish=FinishReason.STOP if has_ended else FinishReason.LENGTH,
        version=segment.version,
    )


def _step(turn: Turn, tool_response_chars: int) -> ToolStep:
    outcome = turn.call if isinstance(turn.call, MalformedCall) else turn.result
    assert outcome is not None
    assert turn.status is not None
    response = response_text(outcome, max_chars=tool_response_chars)
    return ToolStep(content=turn.text, status=turn.status.value, response=response)
