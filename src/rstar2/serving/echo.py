"""Prompts read back: with `echo`, the answer is the prompt and what follows it, token by token.

Harnesses score texts that they have in this way. The log-probs are the policy's own, at temperature 1. The
token that ends a turn is among them, unlike in other answers: harnesses leave out as many tokens at the end
as they asked for.
"""

from collections.abc import AsyncGenerator, Sequence

from rstar2.ports import Tokenizer
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.serving.served import Read, ReadToken
from rstar2.serving.writing import Delta, Task, request_for
from rstar2.types import FinishReason


async def echo(
    dispatcher: Dispatcher, tokenizer: Tokenizer, read: Read, task: Task
) -> AsyncGenerator[Delta, None]:
    """The whole choice as one delta."""
    written: tuple[int, ...] = ()
    has_ended = False
    if task.max_tokens:
        try:
            generation = await dispatcher.generate(request_for(task, (), task.max_tokens))
        finally:
            dispatcher.release(task.id)
        written, has_ended = generation.token_ids, generation.finish is FinishReason.STOP
    token_ids = task.prompt + written
    yield Delta(
        text=tokenizer.decode(token_ids[:-1] if has_ended else token_ids),
        token_ids=token_ids,
        read=tuple(await read(token_ids)),
        num_tokens=len(written),
        finish="stop" if has_ended else "length",
    )


def logprobs_of(read: Sequence[ReadToken], texts: Sequence[str], tokenizer: Tokenizer) -> dict[str, object]:
    """OpenAI's four parallel lists; nothing comes before the first token, so it has no log-prob."""
    offsets = [0]
    for text in texts[:-1]:
        offsets.append(offsets[-1] + len(text))
    likeliest = [{tokenizer.decode([token.likeliest_id]): token.likeliest_logprob} for token in read]
    return {
        "tokens": list(texts),
        "token_logprobs": [None, *(token.logprob for token in read)],
        "top_logprobs": [None, *likeliest],
        "text_offset": offsets,
    }
