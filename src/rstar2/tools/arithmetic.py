"""Exact arithmetic on integers, decimals and fractions, from a text that nobody has to trust.

It walks the syntax tree and knows only what is listed here; nothing is ever evaluated as Python. Every
number stays below `MAX_BITS`, checked before it is made where it could be far more, so that `9**9**9`
costs nothing; with the length of an expression bounded as well, none takes longer than a fraction of a
second.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction

MAX_CHARS = 1000
"""Of an expression."""
MAX_BITS = 12_000
"""Of a numerator or a denominator: about 3,600 decimal digits."""
MAX_MODULAR_BITS = 1024
"""Of base, exponent and modulus of a modular power, which costs their product."""


class NoValue(Exception):
    """An expression without a value; the message is for the model."""


def evaluate(expression: str) -> Fraction:
    """The exact value; NoValue says why there is none."""
    text = " ".join(expression.translate(_SIGNS).split())
    if len(text) > MAX_CHARS or not text.isascii():
        raise NoValue(f"an expression is at most {MAX_CHARS} characters of ASCII")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's advice on odd literals
            tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # the last two: too many brackets
        raise NoValue(f"this is no arithmetic expression: {error}") from error
    try:
        return _value(tree.body, text)
    except RecursionError:
        raise NoValue("the expression is nested too deeply") from None
    except ValueError as error:
        raise NoValue(str(error)) from error
    except ZeroDivisionError:
        raise NoValue("division by zero") from None


def written(value: Fraction) -> str:
    """An integer or a decimal where that is exact and short, else a fraction and about what it is."""
    if value.denominator == 1:
        return str(value.numerator)
    with localcontext(prec=MAX_BITS):
        if 10**_MAX_DECIMALS % value.denominator == 0:
            return f"{Decimal(value.numerator) / value.denominator:f}"
    return f"{value.numerator}/{value.denominator} (about {Decimal(value.numerator) / value.denominator})"


def _value(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _literal(text[node.col_offset : node.end_col_offset], value)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, text)
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand, text)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            left, right = _value(node.left, text), _value(node.right, text)
            return _bounded(Fraction(_OPERATORS[type(node.op)](left, right)))
        case ast.BinOp(op=ast.BitXor()):
            raise NoValue("^ is no power here: write **")
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            return _bounded(Fraction(_call(name, [_value(argument, text) for argument in node.args])))
        case _:
            place = text[node.col_offset : node.end_col_offset][:40]
            raise NoValue(f"{place!r} is no number, operator or function of this calculator")


def _literal(written_as: str, value: float) -> Fraction:
    """Decimals are what they say, not the nearest binary fraction."""
    if isinstance(value, int):
        return _bounded(Fraction(value))
    try:
        number = Decimal(written_as)
    except InvalidOperation:
        number = Decimal("Infinity")  # an exponent that not even Decimal can hold
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise NoValue(f"{written_as[:40]} is out of range")
    return _bounded(Fraction(number))


def _call(name: str, arguments: list[Fraction]) -> Fraction | int:
    function, fewest, most = _FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        raise NoValue(f"{name} does not take {len(arguments)} arguments")
    return function(*arguments)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _too_large()
    return value


def _too_large() -> NoValue:
    return NoValue(f"a number of more than {MAX_BITS} bits is too large for this calculator")


def _integer(value: Fraction) -> int:
    if value.denominator != 1:
        raise NoValue(f"{written(value)[:40]} is no integer, and has to be one here")
    return value.numerator


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise NoValue("exponents must be integers; there is sqrt for exact square roots")
    # A number of b bits is at least 2^(b-1); 0, 1 and -1 stay as small as they are.
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (bits - 1) * abs(exponent.numerator) > MAX_BITS:
        raise _too_large()
    return Fraction(base**exponent.numerator)


def _pow(base: Fraction, exponent: Fraction, modulus: Fraction | None = None) -> Fraction | int:
    if modulus is None:
        return _power(base, exponent)
    numbers = [_integer(number) for number in (base, exponent, modulus)]
    if max(number.bit_length() for number in numbers) > MAX_MODULAR_BITS:
        raise NoValue(f"modular powers take numbers of at most {MAX_MODULAR_BITS} bits")
    return pow(*numbers)


def _sqrt(value: Fraction) -> Fraction:
    if value < 0:
        raise NoValue("a negative number has no square root here")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise NoValue("this square root is irrational; isqrt gives the whole part of an integer's")
    return root


def _round(value: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    if abs(_integer(digits)) > _MAX_EXPONENT:
        raise _too_large()
    return Fraction(round(value, digits.numerator))


def _factorial(value: Fraction) -> int:
    number = _integer(value)
    if number > MAX_BITS or math.lgamma(max(number, 0) + 1) > MAX_BITS * math.log(2):
        raise _too_large()
    return math.factorial(number)


def _comb(items: Fraction, chosen: Fraction) -> int:
    n, k = _integer(items), _integer(chosen)
    if min(n, min(k, n - k) * n.bit_length()) > MAX_BITS:  # C(n, k) is at most 2^n and at most n^k
        raise _too_large()
    return math.comb(n, k)


def _perm(items: Fraction, chosen: Fraction) -> int:
    n, k = _integer(items), _integer(chosen)
    if min(n, k) * n.bit_length() > MAX_BITS:
        raise _too_large()
    return math.perm(n, k)


def _of_integers(function: Callable[..., int]) -> Callable[..., int]:
    return lambda *values: function(*map(_integer, values))


_SIGNS = str.maketrans("\u00d7\u00f7\u2212\u00b7", "*/-*")
"""Signs of print for times, divided by and minus."""
_MAX_DECIMALS = 50
_MAX_EXPONENT = 3000
_MANY = MAX_CHARS
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., Fraction | int], int, int]] = {
    "abs": (abs, 1, 1),
    "min": (lambda *values: min(values), 1, _MANY),  # of one value, too: Python's own would iterate over it
    "max": (lambda *values: max(values), 1, _MANY),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "round": (_round, 1, 2),
    "sqrt": (_sqrt, 1, 1),
    "isqrt": (_of_integers(math.isqrt), 1, 1),
    "gcd": (_of_integers(math.gcd), 1, _MANY),
    "lcm": (_of_integers(math.lcm), 1, _MANY),
    "factorial": (_factorial, 1, 1),
    "comb": (_comb, 2, 2),
    "perm": (_perm, 2, 2),
    "pow": (_pow, 2, 3),
}
"""What may be called, with the fewest and the most arguments."""
