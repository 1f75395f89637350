"""Python that strangers wrote, as a tree; nothing of it is run."""

import ast
import warnings
from typing import Literal

from rstar2.preparation.dialogue import Unusable


def parsed(text: str, mode: Literal["exec", "eval"], *, otherwise: str) -> ast.AST:
    """The tree; Unusable for the reason `otherwise` if it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes such as "\\d"
        try:
            return ast.parse(text, mode=mode)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Unusable(otherwise) from error
