"""Which bytes a token stands for: a character may be cut by tokens, none of which has a text then."""

import re
from collections.abc import Mapping

_FALLBACK = re.compile("<0x([0-9A-F]{2})>")
"""SentencePiece's pieces for single bytes of characters that it has no piece for."""


def _bytes_of_characters() -> Mapping[str, int]:
    """GPT-2's alphabet, which byte-level vocabularies are written in.

    Visible characters of Latin-1 stand for their own byte; the other bytes, in order, for what is at U+0100.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted({*range(0x100)} - {*visible})
    return {chr(byte): byte for byte in visible} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = _bytes_of_characters()


def token_bytes(piece: str, text: str) -> bytes | None:
    """Of a token that the vocabulary writes as `piece`, and that decodes to `text` when it is alone.

    None where the two do not tell: SentencePiece, for one, drops the space that a text begins with.
    """
    if piece == text:
        return text.encode()
    if all(character in _BYTES for character in piece):
        written = bytes(_BYTES[character] for character in piece)
        if written.decode(errors="replace") == text:
            return written
    fallback = _FALLBACK.fullmatch(piece)
    return bytes.fromhex(fallback[1]) if fallback else None
