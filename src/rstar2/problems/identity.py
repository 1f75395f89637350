"""When two questions are the same question.

Only case, white space and Unicode spelling are ignored: in mathematics punctuation carries meaning
("a - b" is not "a + b"), so it stays.
"""

import hashlib
import unicodedata


def normalised(question: str) -> str:
    """The question without differences of case, white space and Unicode compatibility forms."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def question_hash(question: str) -> str:
    """Sixteen hex digits, the same for every spelling of a question and stable over runs and machines."""
    return hashlib.sha256(normalised(question).encode()).hexdigest()[:16]
