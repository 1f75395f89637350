"""What each token of a turn is part of: the model's own words, a program, an answer, or mere format.

The regions are told apart by the protocol's tags alone, so they are facts and not guesses. A token that
lies across a border belongs where most of its characters are.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum

from rstar2.ports import Tokenizer
from rstar2.protocol.parse import CLOSE, OPEN

_HALF_CHARACTER = "\ufffd"
_LONGEST_CHARACTER_TOKENS = 4
"""A character has at most four bytes, and a byte-level token at least one."""

_BLOCKS = re.compile(
    rf"{OPEN}(?P<call>.*?)(?:{CLOSE}|\Z)|<answer>(?P<answer>.*?)(?:</answer>|\Z)|</?(?:reason|think|answer)>",
    re.DOTALL,
)
_STRING = re.compile(r'"(?P<inside>(?:[^"\\]|\\.)*)(?:"(?P<is_key>\s*:)?|\Z)', re.DOTALL)
_TOOL_NAME = re.compile(r'\A\s*\{\s*"name"\s*:\s*"[^"]*"|"name"\s*:\s*"[^"]*"\s*\}\s*\Z')
"""Before the arguments, or after them."""


class Region(StrEnum):
    """A part of what a model writes in a turn; every token lies in exactly one."""

    TEXT = "text"
    """Its own words, wherever they stand."""
    CODE = "code"
    """Inside the strings that a call passes to its tool: the program, comments included, and its input."""
    ANSWER = "answer"
    """Inside an answer block."""
    FORMAT = "format"
    """Tags, the JSON around a program, the tool's name, the end of the turn, blanks between such."""


def token_texts(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    """Text of each token; a character of several tokens is with the last of them, the others are empty."""
    texts: list[str] = []
    pending: list[int] = []
    for token_id in token_ids:
        pending.append(token_id)
        text = tokenizer.decode(pending)
        is_whole = not text.endswith(_HALF_CHARACTER) or len(pending) == _LONGEST_CHARACTER_TOKENS
        texts.append(text if is_whole else "")
        if is_whole:
            pending = []
    return texts


def regions(pieces: Sequence[str], *, end_of_turn: str) -> tuple[Region, ...]:
    """The region of every token of one turn, given the tokens' texts."""
    of_chars = _char_regions("".join(pieces), end_of_turn)
    found, start = [], 0
    for piece in pieces:
        inside = of_chars[start : start + max(len(piece), 1)] or [Region.FORMAT]
        found.append(Counter(inside).most_common(1)[0][0])
        start += len(piece)
    return tuple(found)


def _char_regions(turn: str, end_of_turn: str) -> list[Region]:
    written = turn.removesuffix(end_of_turn)
    found: list[Region] = []
    for block in _BLOCKS.finditer(written):
        found += _words(written[len(found) : block.start()])
        found += [Region.FORMAT] * (block.end() - block.start())
        for start, end, region in _insides(block):
            found[start:end] = [region] * (end - start)
    found += _words(written[len(found) :])
    return found + [Region.FORMAT] * (len(turn) - len(written))


def _words(text: str) -> list[Region]:
    return [Region.TEXT if text.strip() else Region.FORMAT] * len(text)


def _insides(block: re.Match[str]) -> Iterator[tuple[int, int, Region]]:
    """(start, end, region) of what is more than format in a block."""
    if block["answer"] is not None:
        yield (*block.span("answer"), Region.ANSWER)
    if block["call"] is not None:
        call, offset = block["call"], block.start("call")
        name = _TOOL_NAME.search(call)
        for string in _STRING.finditer(call):
            is_name = name is not None and string.start() in range(*name.span())
            if string["is_key"] is None and not is_name:
                yield (offset + string.start("inside"), offset + string.end("inside"), Region.CODE)
