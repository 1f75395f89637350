"""Generated non-reasoning SFT conversations for the tiny model; real ones come from files (`conversations`).

What they teach is form: how a call is written, that its output is read, how an answer is given. What
they do not teach is which code is right: attempts are right, wrong or broken as in the base's text,
some calls are malformed, and an answer is whatever the tool printed.
"""

import random
from collections.abc import Mapping, Sequence

from rstar2.corpus.documents import pick_kind
from rstar2.corpus.trial import try_out
from rstar2.corpus.worked import Kind, attempts
from rstar2.integers import canonical_integer
from rstar2.protocol.parse import parse_turn
from rstar2.protocol.response import response_text
from rstar2.protocol.template import Message, call_text
from rstar2.rollout.agent import Parse
from rstar2.types import MalformedCall, Problem

GIVE_UP = "</reason><answer>\\boxed{0}</answer>"
MAX_ATTEMPTS = 2


def demonstration(
    problem: Problem,
    *,
    proportions: Mapping[Kind, float],
    malformed_share: float,
    tool_response_chars: int,
    rng: random.Random,
    parse: Parse = parse_turn,
) -> list[Message]:
    """The assistant and tool messages that follow `problem`: up to two calls, then an answer.

    After a failed call the demonstrator tries again or gives up with a made-up answer, equally often.
    What is wrong with a malformed call is said by `parse`, as in the run's rollouts.
    """
    messages: list[Message] = []
    for attempt in range(MAX_ATTEMPTS):
        code = attempts(problem.task, problem.question).pick(pick_kind(proportions, rng), rng)
        call = call_text(code)
        turn = "</reason>" + (_damaged(call, rng) if rng.random() < malformed_share else call)
        parsed = parse(turn)
        result = None if isinstance(parsed, MalformedCall) else try_out(code)
        shown = response_text(
            parsed if isinstance(parsed, MalformedCall) else result or try_out(code),
            max_chars=tool_response_chars,
        )
        messages += [{"role": "assistant", "content": turn}, {"role": "tool", "content": shown}]
        if result is not None and not result.status.is_error:
            return [*messages, {"role": "assistant", "content": _answer(shown)}]
        if rng.random() < 0.5 or attempt == MAX_ATTEMPTS - 1:
            break
    return [*messages, {"role": "assistant", "content": GIVE_UP}]


def instruction(rng: random.Random) -> tuple[str, list[Message]]:
    """A plain instruction to give a number as the answer, and its fulfilment, without a tool."""
    number = str(rng.randrange(-999, 10 ** rng.randint(1, 9)))
    wording = rng.choice(
        ["Answer with the number {}.", "Give {} as the answer.", "The answer is {}. Say so."]
    )
    return wording.format(number), [{"role": "assistant", "content": _answer(number)}]


def _answer(shown: str) -> str:
    """The last line of what a tool showed, as the final answer; a made-up 0 where it is no integer."""
    last: Sequence[str] = shown.strip().splitlines()[-1:]
    value = canonical_integer(last[0]) if last else None
    return f"</reason><answer>\\boxed{{{value}}}</answer>" if value is not None else GIVE_UP


def _damaged(call: str, rng: random.Random) -> str:
    """A call as a beginner might write it: cut off, misnamed, or not JSON."""
    return rng.choice(
        [
            call.removesuffix("}</tool_call>") + "</tool_call>",
            call.replace('"input"', '"stdin"'),
            call.replace("execute_python_code_with_standard_io", "python"),
            call.removesuffix("</tool_call>"),
        ]
    )
