r"""Letters of choices: `B`, `(B)`, `$B$` and `\textbf{(B)}.` are one; `b` and `B or C` are none."""

import re

from rstar2.integers import without_math_delimiters

_FACE = r"\\(?:text|textbf|textrm|textsf|mathrm|mathbf|mathsf)"
_LETTER = re.compile(rf"\(?\s*(?:{_FACE}\s*\{{)?\s*\(?([A-Z])[.)]*\s*\}}?\s*[.)]*")


def choice_letter(text: str) -> str | None:
    """The letter that is all of the text, but for brackets and type face."""
    found = _LETTER.fullmatch(without_math_delimiters(text.strip()).strip())
    return found[1] if found else None
