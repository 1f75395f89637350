r"""Whether an answer states a number, or leaves it to the verifier to calculate.

math-verify evaluates what it reads: `4 + 8 + 9 + 4` is 25 to it, `\gcd(12, 18)` is 6, and numbers beside each
other are their sum. With it alone a policy is paid for repeating the question. So where the label is an
integer, an answer has to be one number, a fraction or a power of two numbers, or scientific form; what it is
said to be equal to may stand before. This only looks: whether the number is the right one is for the verifier
to say.
"""

import re

from rstar2.integers import without_math_delimiters

_OF_NAMES = re.compile(r"_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w)|(?<=[a-zA-Z'}])\s*(?:\\left)?\([^()=]*\)")
"""Indices and arguments: `a_{n,1}`, `f(2, 3)`."""
_PARTED = re.compile(r"(?<!\\)[,;]|\\q?quad|\b(?:or|and)\b|[!<>]\s*$")
"""Between several answers, or an unequal sign."""
_FACE = r"\\(?:text|textrm|textbf|textit|mbox|mathrm|mathbf|mathit)(?![a-zA-Z])"
_POWER = r"(?<=[a-zA-Z}])\s*\^\s*(?:[0-9]|\{-?[0-9]\})"
_WORDS = re.compile(rf"(?:[\s/]|\\cdot|\\times)*{_FACE}\s*\{{(?:[^{{}}0-9]|{_POWER})*\}}(?:{_POWER})?")
r"""Units and words: `\text{ cm}^2`, `\mathrm{cm^2}`, `\text{m}/\text{s}`."""
_DRESS = re.compile(
    rf"{_FACE}|\\(?:left|right|boxed|displaystyle|quad|qquad|equiv|in|angle)(?![a-zA-Z])|\\[][(),;:> $%{{}}]"
    r"|\^\s*\{?\s*\\circ\s*\}?|_\s*\{?[0-9]+\}?|[][(){}]"
)
"""What changes no number: type faces, spaces, signs of units, indices and bases, brackets."""
_ASIDE = r"[^0-9\\!|+*/^_-]*"
"""Letters and the like, but nothing that calculates; a command that is no dress may."""
_NUMBER = r"(?:[+-]\s*)?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TIMES_TEN_TO = r"(?:\\cdot|\\times|\*|\u00d7)\s*10\s*\^"
_STATED = re.compile(
    rf"{_ASIDE}(?:{_NUMBER}(?:\s*(?:/|\^|{_TIMES_TEN_TO})\s*{_NUMBER})?"
    rf"|(?:[+-]\s*)?\\[dtc]?frac(?:\s*{_NUMBER}\s+{_NUMBER}|[0-9]{{2}})){_ASIDE}"
)


def stated_part(answer: str) -> str:
    r"""What stands after the last `=`: of `m + n = 204` or `\theta = 55^\circ`; all of several answers."""
    bare = without_math_delimiters(answer.strip())
    name, _, value = bare.rpartition("=")
    is_whole = value.count("{") == value.count("}") and not _PARTED.search(_OF_NAMES.sub("", name))
    return value if is_whole else bare


def states_a_number(answer: str) -> bool:
    """False if something is left to calculate, or there is no number; thousands are joined already."""
    bare = _DRESS.sub(" ", _WORDS.sub(" ", answer.replace("\u2212", "-")))
    return _STATED.fullmatch(bare) is not None
