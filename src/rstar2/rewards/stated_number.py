r"""Whether an answer states a number, or leaves it to the verifier to calculate.

math-verify evaluates what it reads: `4 + 8 + 9 + 4` is 25 to it, `\gcd(12, 18)` is 6, and numbers beside each
other are their sum. With it alone a policy is paid for repeating the question. So where the label is an
integer, an answer has to be one number, a fraction or a power of two numbers, or scientific form. This only
looks: whether the number is the right one is for the verifier to say.
"""

import re

_FACE = r"\\(?:text|textrm|textbf|textit|mbox|mathrm|mathbf|mathit)(?![a-zA-Z])"
_WORDS = re.compile(
    rf"(?:[\s/]|\\cdot|\\times)*{_FACE}\s*\{{[^{{}}0-9]*\}}(?:\s*\^\s*(?:[0-9]|\{{-?[0-9]\}}))?"
)
r"""Units and words: `\text{ cm}^2`, `\text{m}/\text{s}`."""
_DRESS = re.compile(
    rf"{_FACE}|\\(?:left|right|boxed|displaystyle|quad|qquad|equiv|in|angle)(?![a-zA-Z])|\\[][(),;:> $%{{}}]"
    r"|\^\s*\{?\s*\\circ\s*\}?|_\s*\{?[0-9]+\}?|(?<=[a-zA-Z])\([0-9]+\)(?=\s*=)|[][(){}]"
)
"""What changes no number: type faces, spaces, signs of units, indices and bases, arguments, brackets."""
_ASIDE = r"[^0-9\\!|+*/^_-]*"
"""Letters and the like, but nothing that calculates; a command that is no dress may."""
_NAME = r"(?:[^0-9\\+*/^_-]*=)?"
"""`x =`, `|S| =`: without a number, or the verifier could be made to take the left side for the answer."""
_NUMBER = r"(?:[+-]\s*)?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TIMES_TEN_TO = r"(?:\\cdot|\\times|\*|\u00d7)\s*10\s*\^"
_STATED = re.compile(
    rf"{_NAME}{_ASIDE}(?:{_NUMBER}(?:\s*(?:/|\^|{_TIMES_TEN_TO})\s*{_NUMBER})?"
    rf"|(?:[+-]\s*)?\\[dtc]?frac(?:\s*{_NUMBER}\s+{_NUMBER}|[0-9]{{2}})){_ASIDE}"
)


def states_a_number(answer: str) -> bool:
    """False if something is left to calculate, or there is no number; thousands are joined already."""
    bare = _DRESS.sub(" ", _WORDS.sub(" ", answer.replace("\u2212", "-")))
    return _STATED.fullmatch(bare) is not None
