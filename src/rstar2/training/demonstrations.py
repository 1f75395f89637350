"""Generated non-reasoning SFT conversations for the tiny model; real ones come from files (`conversations`).

What they teach is form: how a call is written, that its output is read, how an answer is given. What
they do not teach is which code is right: attempts are right, wrong or broken as in the base's text,
some calls are malformed, and an answer is whatever the tool printed. Only after a failed call may they be
shown to do better, as people who read an error often do.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrator:
    """Whoever wrote the conversations that are imitated."""

    proportions: Mapping[Kind, float]
    """Of the attempts."""
    malformed_share: float
    """Of the calls: not well-formed."""
    retry_share: float
    """Of the failed calls: followed by a second one; else by a made-up answer."""
    mended_share: float
    """Of the second calls: right, whatever the proportions."""
    tool_response_chars: int
    """As in rollouts."""
    parse: Parse = parse_turn
    """Says what is wrong with a malformed call, as in the run's rollouts."""

    def conversation(self, problem: Problem, rng: random.Random) -> list[Message]:
        """The assistant and tool messages that follow `problem`: up to two calls, then an answer."""
        messages: list[Message] = []
        for attempt in range(MAX_ATTEMPTS):
            mended_share = self.mended_share if attempt else 0.0
            code = _attempt(problem, _mended(self.proportions, mended_share), rng)
            call = call_text(code)
            is_damaged = rng.random() < self.malformed_share * (1 - mended_share)
            turn = "</reason>" + (_damaged(call, rng) if is_damaged else call)
            parsed = self.parse(turn)
            result = None if isinstance(parsed, MalformedCall) else try_out(code)
            shown = response_text(
                parsed if isinstance(parsed, MalformedCall) else result or try_out(code),
                max_chars=self.tool_response_chars,
            )
            messages += [{"role": "assistant", "content": turn}, {"role": "tool", "content": shown}]
            if result is not None and not result.status.is_error:
                return [*messages, {"role": "assistant", "content": _answer(shown)}]
            if rng.random() < 1 - self.retry_share or attempt == MAX_ATTEMPTS - 1:
                break
        return [*messages, {"role": "assistant", "content": GIVE_UP}]

    def bare_answer(self, problem: Problem, rng: random.Random) -> list[Message]:
        """What an attempt would have printed, said at once, by somebody without tools."""
        result = try_out(_attempt(problem, self.proportions, rng))
        answer = GIVE_UP if result.status.is_error else _answer(result.stdout)
        return [{"role": "assistant", "content": answer}]


def instruction(rng: random.Random) -> tuple[str, list[Message]]:
    """A plain instruction to give a number as the answer, and its fulfilment, without a tool."""
    number = str(rng.randrange(-999, 10 ** rng.randint(1, 9)))
    wording = rng.choice(
        ["Answer with the number {}.", "Give {} as the answer.", "The answer is {}. Say so."]
    )
    return wording.format(number), [{"role": "assistant", "content": _answer(number)}]


def _mended(proportions: Mapping[Kind, float], share: float) -> Mapping[Kind, float]:
    """These proportions for all but a share, which is right."""
    total = sum(proportions.values())
    return {
        kind: (1 - share) * weight / total + share * (kind is Kind.RIGHT)
        for kind, weight in ({Kind.RIGHT: 0.0} | dict(proportions)).items()
    }


def _attempt(problem: Problem, proportions: Mapping[Kind, float], rng: random.Random) -> str:
    return attempts(problem.task, problem.question).pick(pick_kind(proportions, rng), rng)


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
