"""When two questions are the same question.

Only case, white space and Unicode spelling are ignored: in mathematics punctuation carries meaning
("a - b" is not "a + b"), so it stays, and so does what is raised or lowered (2 to the n is not 2n).
"""

import hashlib
import re
import unicodedata

_SUPERSCRIPTS = re.compile("[\u00b2\u00b3\u00b9\u2070\u2071\u2074-\u207f]+")
_SUBSCRIPTS = re.compile("[\u2080-\u208e\u2090-\u209c]+")
"""Digits, signs, brackets and letters."""


def normalised(question: str) -> str:
    """The question without differences of case, white space and Unicode compatibility forms."""
    marked = _SUBSCRIPTS.sub(r"_\g<0>", _SUPERSCRIPTS.sub(r"^\g<0>", question))
    return " ".join(unicodedata.normalize("NFKC", marked).casefold().split())


def question_hash(question: str) -> str:
    """Sixteen hex digits, the same for every spelling of a question and stable over runs and machines."""
    return hashlib.sha256(normalised(question).encode()).hexdigest()[:16]
