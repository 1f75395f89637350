"""Supervised samples: conversations as tokens, loss on what the assistant writes and nothing else.

The same renderer as in rollouts, so what SFT teaches is what RL samples: the prompt, then turn by turn
the assistant's tokens with their end-of-turn token (targets) and the bridges between (not targets).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from rstar2.errors import DataError
from rstar2.protocol.template import Message, Template
from rstar2.protocol.untrusted import Untrusted
from rstar2.training.conversations import Conversation
from rstar2.types import TrainSample


def dialogue_sample(template: Template, question: str, messages: Sequence[Message]) -> TrainSample:
    """A sample from a question and the assistant and tool messages after it, in rollout form."""
    tokens = list(template.prompt(question))
    mask = [False] * len(tokens)
    for message in messages:
        written = message["role"] == "assistant"
        if written:
            eos = template.tokenizer.eos_token_id
            ids = [*template.tokenizer.encode(message["content"]), eos]
        else:
            ids = list(template.bridge(message["content"]))
        tokens += ids
        mask += [written] * len(ids)
    return _sample(tokens, mask)


def conversation_sample(template: Template, conversation: Conversation) -> TrainSample:
    """A sample from any chat+tools conversation, by rendering its growing prefixes.

    A target is every token that an assistant message adds after its generation prompt, up to its
    end-of-turn token. Control tokens in what a tool returned are characters. DataError if the template does
    not render prefixes stably for these messages.
    """
    tools = conversation.tools
    untrusted = Untrusted(template.tokenizer, conversation.messages)
    messages = untrusted.messages
    tokens: list[int] = []
    mask: list[bool] = []
    done = ""
    end_of_turn = template.tokenizer.decode([template.tokenizer.eos_token_id])
    for end, message in enumerate(messages, start=1):
        if message["role"] != "assistant":
            continue
        prompt = template.render(messages[: end - 1], tools=tools, add_generation_prompt=True)
        turn = template.render(messages[:end], tools=tools)
        turn = turn[: turn.rfind(end_of_turn) + len(end_of_turn)]
        for text, written in ((prompt, False), (turn, True)):
            if not text.startswith(done):
                raise DataError("the chat template re-renders earlier turns of this conversation; use chatml")
            ids = untrusted.encode(text[len(done) :])
            tokens += ids
            mask += [written] * len(ids)
            done = text
    return _sample(tokens, mask)


def text_sample(token_ids: Sequence[int]) -> TrainSample:
    """A plain document: every token but the first is a target."""
    return _sample(token_ids, [False, *[True] * (len(token_ids) - 1)])


def with_shared_opening(samples: Sequence[TrainSample]) -> list[TrainSample]:
    """The same samples, marked so that a learner computes the tokens that all begin with only once.

    Conversations with the same system prompt and tools share most of their tokens. At least one token
    of each sample stays outside of the shared part.
    """
    ids = [sample.token_ids[:-1] for sample in samples]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(min(ids), max(ids), strict=False))
    length = sum(1 for _ in same)  # what the extremes of an ordering share, all share
    if not length or any(any(sample.loss_mask[:length]) for sample in samples):
        return list(samples)
    return [replace(sample, prompt_length=length, group_id="shared opening") for sample in samples]


def _sample(token_ids: Sequence[int], mask: Sequence[bool]) -> TrainSample:
    return TrainSample(
        token_ids=tuple(token_ids), loss_mask=tuple(mask), logprobs=(0.0,) * len(token_ids), advantage=1.0
    )
