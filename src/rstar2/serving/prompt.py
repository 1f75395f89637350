"""From what a client sent to the tokens that the model goes on from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rstar2.protocol.tokenizer import HuggingFaceTokenizer
from rstar2.protocol.untrusted import Untrusted
from rstar2.serving.refusal import Refusal
from rstar2.serving.requests import Message, MessageCall

Shown = Mapping[str, Any]
"""A message or a tool as chat templates take them."""


def chat_prompt(
    tokenizer: HuggingFaceTokenizer, messages: Sequence[Message], tools: Sequence[Shown]
) -> tuple[int, ...]:
    """The conversation in the checkpoint's own chat template, up to where the assistant begins to write.

    Control tokens in what a tool returned are ordinary characters.
    """
    untrusted = Untrusted(tokenizer, [_shown(message) for message in messages])
    token_ids = untrusted.encode(_rendered(tokenizer, untrusted.messages, tools))
    return _checked(token_ids, tokenizer, "messages")


def _rendered(tokenizer: HuggingFaceTokenizer, messages: Sequence[Shown], tools: Sequence[Shown]) -> str:
    try:
        return str(
            tokenizer.hf.apply_chat_template(
                list(messages), tools=list(tools) or None, add_generation_prompt=True, tokenize=False
            )
        )
    except Exception as error:  # jinja raises many kinds: the template does not take these messages
        raise Refusal(f"the chat template does not take these messages: {error}", param="messages") from error


def plain_prompt(tokenizer: HuggingFaceTokenizer, prompt: str | Sequence[int]) -> tuple[int, ...]:
    """Text as tokens; tokens as they are."""
    token_ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    return _checked(token_ids, tokenizer, "prompt")


def _checked(token_ids: Sequence[int], tokenizer: HuggingFaceTokenizer, param: str) -> tuple[int, ...]:
    if not token_ids:
        raise Refusal("there is nothing to go on from: give at least one token", param=param)
    if not all(0 <= token_id < len(tokenizer.hf) for token_id in token_ids):
        raise Refusal(f"token ids must be from 0 to {len(tokenizer.hf) - 1}", param=param)
    return tuple(token_ids)


def _shown(message: Message) -> Shown:
    shown: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": message.text,
    }
    if message.reasoning_content:
        shown["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        shown["tool_calls"] = [_shown_call(call) for call in message.tool_calls]
    return shown


def _shown_call(call: MessageCall) -> Shown:
    """Arguments as an object where they are one: most templates would write a text as a quoted text."""
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = call.function.arguments
    return {"type": "function", "function": {"name": call.function.name, "arguments": arguments}}
