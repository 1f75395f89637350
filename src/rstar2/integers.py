r"""Integers as people and models write them, in one canonical spelling.

Labels of problems and answers of models meet as these strings, so "007", "+7" and "$7$" are one answer.
Strict on purpose: "4.0", "1,2", "7 apples" and "3 or 4" are no integers. The text is never turned
into an `int`: a million digits must cost neither time nor the interpreter's digit limit.
"""

import re

_INTEGER = re.compile(r"([+-]?)\s*([0-9]+)")
_MATH_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_THOUSANDS = re.compile(
    r"(?<![0-9.])[0-9]{1,3}(?P<mark>(?:,|\{,\})(?:\\,)?|[ ~\u00a0\u2009\u202f]|\\[,;:> ])[0-9]{3}"
    r"(?:(?P=mark)[0-9]{3})*(?![0-9])"
)
"""Groups of three digits, all parted by the same mark: a comma or one space of any kind."""
_SPACES = re.compile(r"\\[,;:> ]|~")
"""Between any other digits they part two numbers."""
_NEGATIVE_SPACE = r"\!"
r"""Says nothing, as in `10,\!080`."""
_UNICODE_MINUS = "\u2212"


def canonical_integer(text: str) -> str | None:
    """The integer that the whole text spells, as `str(int)` would print it; None if it spells none."""
    text = without_math_delimiters(text.strip().replace(_UNICODE_MINUS, "-"))
    match = _INTEGER.fullmatch(_SPACES.sub(" ", with_joined_thousands(text)).strip())
    if match is None:
        return None
    digits = match[2].lstrip("0")
    if not digits:
        return "0"
    return ("-" if match[1] == "-" else "") + digits


def with_joined_thousands(text: str) -> str:
    r"""`x = 12\,345` as `x = 12345`, and so with commas and other spaces; numbers side by side stay so."""
    text = text.replace(_NEGATIVE_SPACE, "")
    return _THOUSANDS.sub(lambda number: re.sub(r"[^0-9]", "", number[0]), text)


def without_math_delimiters(text: str) -> str:
    r"""What stands between `$` and `$`, or their like; the whole text if it does not begin and end so."""
    for opening, closing in _MATH_DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
            return text[len(opening) : -len(closing)]
    return text
