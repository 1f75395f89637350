"""What a tool returned, inside of a conversation that a template renders: characters, whatever they spell."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from rstar2.protocol.tokenizer import HuggingFaceTokenizer


class Untrusted:
    """Marks that stand for such texts while the conversation around them is rendered.

    As in a rollout (`Template.bridge`), a page that a tool fetched cannot end its message and go on as the
    system. Texts without control tokens stay as they are, so that they join their surroundings as ever.
    """

    def __init__(self, tokenizer: HuggingFaceTokenizer, messages: Sequence[Mapping[str, Any]]) -> None:
        self._tokenizer = tokenizer
        self._mark = uuid4().hex  # nobody who writes a message knows it
        self._texts = {
            place: message["content"]
            for place, message in enumerate(messages)
            if message["role"] == "tool"
            and isinstance(message.get("content"), str)
            and tokenizer.has_control_token(message["content"])
        }
        self.messages = [
            {**message, "content": f"{self._mark}.{place}."} if place in self._texts else message
            for place, message in enumerate(messages)
        ]
        """The conversation to render."""

    def encode(self, rendered: str) -> list[int]:
        """The tokens of it, or of a part."""
        trusted, *rest = re.split(rf"{self._mark}\.(\d+)\.", rendered)
        token_ids = self._tokenizer.encode(trusted)
        for place, trusted in zip(rest[::2], rest[1::2], strict=True):
            token_ids += self._tokenizer.encode_untrusted(self._texts[int(place)])
            token_ids += self._tokenizer.encode(trusted)
        return token_ids
