r"""Integers as people and models write them, in one canonical spelling.

Labels of problems and answers of models meet as these strings, so "007", "+7" and "$7$" are one answer.
Strict on purpose: "4.0", "1,2", "7 apples" and "3 or 4" are no integers. The text is never turned
into an `int`: a million digits must cost neither time nor the interpreter's digit limit.
"""

import re

_INTEGER = re.compile(r"([+-]?)\s*([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)")
_MATH_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_THIN_COMMA = re.compile(r"(?<=[0-9])\\,(?=[0-9])")
r"""Between digits a thin space sets thousands apart, as a comma does: `1\,234`."""
_THIN_SPACES = re.compile(r"\\[,!]")
r"""Elsewhere they say nothing, as in `10,\!080`."""
_WIDE_SPACES = re.compile(r"\\[;:> ]|~")
"""Between digits they part two numbers."""
_UNICODE_MINUS = "\u2212"


def canonical_integer(text: str) -> str | None:
    """The integer that the whole text spells, as `str(int)` would print it; None if it spells none."""
    text = without_math_delimiters(text.strip().replace("{,}", ",").replace(_UNICODE_MINUS, "-"))
    text = _THIN_SPACES.sub("", _THIN_COMMA.sub(",", text))
    match = _INTEGER.fullmatch(_WIDE_SPACES.sub(" ", text).strip())
    if match is None:
        return None
    digits = match[2].replace(",", "").lstrip("0")
    if not digits:
        return "0"
    return ("-" if match[1] == "-" else "") + digits


def without_math_delimiters(text: str) -> str:
    r"""What stands between `$` and `$`, or their like; the whole text if it does not begin and end so."""
    for opening, closing in _MATH_DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
            return text[len(opening) : -len(closing)]
    return text
