r"""Letters of choices: `B`, `(B)`, `$B$` and `\textbf{(B)}.` are one; `b` and `B or C` are none."""

import re

from rstar2.integers import without_math_delimiters

_LONGEST_CHARS = 64
"""A letter in all its dress has some 20; the pattern takes time with the square of the length."""
_FACE = r"\\(?:text|textbf|textrm|textsf|mathrm|mathbf|mathsf)"
_LETTER = re.compile(rf"\(?\s*(?:{_FACE}\s*\{{)?\s*\(?([A-Z])[.)]*\s*\}}?\s*[.)]*")


def choice_letter(text: str) -> str | None:
    """The letter that is all of the text, but for brackets and type face."""
    text = text.strip()
    if len(text) > _LONGEST_CHARS:
        return None
    found = _LETTER.fullmatch(without_math_delimiters(text).strip())
    return found[1] if found else None
