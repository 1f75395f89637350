"""What clients get: OpenAI's objects for whole answers and for the pieces of a stream, ready for JSON.

A whole answer is the sum of its deltas, so that both ways of asking give the same.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from uuid import uuid4

from rstar2.protocol.tokenizer import HuggingFaceTokenizer
from rstar2.serving.echo import logprobs_of
from rstar2.serving.token_bytes import token_bytes
from rstar2.serving.tool_calls import FunctionCall
from rstar2.serving.writing import Delta

Json = dict[str, object]


def total(deltas: Sequence[Delta]) -> Delta:
    """All that came of one choice, as one."""
    return Delta(
        text="".join(delta.text for delta in deltas),
        calls=tuple(call for delta in deltas for call in delta.calls),
        steps=tuple(step for delta in deltas for step in delta.steps),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
        read=next((delta.read for delta in deltas if delta.read is not None), None),
        num_tokens=sum(delta.num_tokens for delta in deltas),
        finish=deltas[-1].finish,
    )


class Reply(ABC):
    """One answer, whole or in pieces; all its objects share an id and a time."""

    prefix: str
    kind: str
    kind_of_piece: str

    def __init__(
        self,
        *,
        model: str,
        tokenizer: HuggingFaceTokenizer,
        num_prompt_tokens: int,
        wants_logprobs: bool,
        wants_token_ids: bool = False,
    ) -> None:
        self.wants_logprobs = wants_logprobs
        self.wants_token_ids = wants_token_ids
        self._tokenizer = tokenizer
        self._num_prompt_tokens = num_prompt_tokens
        self._shared: Json = {
            "id": f"{self.prefix}-{uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, choices: Sequence[Delta]) -> Json:
        listed = [self._choice(number, choice) for number, choice in enumerate(choices)]
        return {**self._shared, "object": self.kind, "choices": listed, "usage": self._usage(choices)}

    def openings(self, num_choices: int) -> list[Json]:
        """What every stream begins with."""
        return []

    def piece(self, number: int, delta: Delta) -> Json:
        return self._piece(self._choice_piece(number, delta))

    def usage_piece(self, deltas: Sequence[Delta]) -> Json:
        """The last piece, for those who asked for it."""
        return self._piece() | {"usage": self._usage(deltas)}

    @abstractmethod
    def _choice(self, number: int, choice: Delta) -> Json: ...

    @abstractmethod
    def _choice_piece(self, number: int, delta: Delta) -> Json: ...

    def _piece(self, *choices: Json) -> Json:
        return {**self._shared, "object": self.kind_of_piece, "choices": list(choices)}

    def _usage(self, deltas: Sequence[Delta]) -> Json:
        num_drawn = sum(delta.num_tokens for delta in deltas)
        return {
            "prompt_tokens": self._num_prompt_tokens,
            "completion_tokens": num_drawn,
            "total_tokens": self._num_prompt_tokens + num_drawn,
        }

    def _token_texts(self, delta: Delta) -> list[str]:
        return [self._tokenizer.decode([token_id]) for token_id in delta.token_ids]


class ChatReply(Reply):
    """An assistant's message."""

    prefix = "chatcmpl"
    kind = "chat.completion"
    kind_of_piece = "chat.completion.chunk"

    def openings(self, num_choices: int) -> list[Json]:
        """Who speaks."""
        says: Json = {"role": "assistant", "content": ""}
        return [
            self._piece({"index": number, "delta": says, "finish_reason": None})
            for number in range(num_choices)
        ]

    def _choice(self, number: int, choice: Delta) -> Json:
        content = choice.text if choice.text or not choice.calls else None
        called = _called(choice, [_call(call) for call in choice.calls])
        message = {"role": "assistant", "content": content, **called}
        return {"index": number, "message": message, **self._ending(choice)}

    def _choice_piece(self, number: int, delta: Delta) -> Json:
        said: Json = {"content": delta.text} if delta.text else {}
        calls = [{"index": place, **_call(call)} for place, call in enumerate(delta.calls)]
        return {"index": number, "delta": said | _called(delta, calls), **self._ending(delta)}

    def _ending(self, delta: Delta) -> Json:
        return {"logprobs": self._logprobs(delta), "finish_reason": delta.finish}

    def _logprobs(self, delta: Delta) -> Json | None:
        if not self.wants_logprobs:
            return None
        pieces = self._tokenizer.hf.convert_ids_to_tokens(list(delta.token_ids))
        listed = [
            _logprob(text, token_bytes(piece or "", text), logprob)  # an id beyond the vocabulary has none
            for piece, text, logprob in zip(pieces, self._token_texts(delta), delta.logprobs, strict=True)
        ]
        return {"content": listed}


class CompletionReply(Reply):
    """Text that goes on from a prompt."""

    prefix = "cmpl"
    kind = "text_completion"
    kind_of_piece = "text_completion"

    def _choice(self, number: int, choice: Delta) -> Json:
        logprobs = self._logprobs(choice) if self.wants_logprobs else None
        token_ids: Json = {"token_ids": list(choice.token_ids)} if self.wants_token_ids else {}
        written: Json = {"index": number, "text": choice.text, "logprobs": logprobs}
        return written | token_ids | {"finish_reason": choice.finish}

    def _logprobs(self, choice: Delta) -> Json:
        texts = self._token_texts(choice)
        if choice.read is not None:
            return logprobs_of(choice.read, texts, self._tokenizer)
        return {"tokens": texts, "token_logprobs": list(choice.logprobs)}

    def _choice_piece(self, number: int, delta: Delta) -> Json:
        return self._choice(number, delta)


def _logprob(text: str, written: bytes | None, logprob: float) -> Json:
    listed = None if written is None else list(written)
    return {"token": text, "logprob": logprob, "bytes": listed, "top_logprobs": []}


def _called(delta: Delta, calls: Sequence[Json]) -> Json:
    called: Json = {"tool_calls": calls} if calls else {}
    if delta.steps:
        called["tool_steps"] = [asdict(step) for step in delta.steps]
    return called


def _call(call: FunctionCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
