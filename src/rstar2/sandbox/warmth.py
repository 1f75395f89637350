"""What every program finds already imported, and the first uses that make later ones cheap."""

import importlib
import os
from collections.abc import Sequence
from types import ModuleType

LIBRARIES = ("multiprocessing", "mpmath", "numpy", "scipy", "sympy", "math_verify")
"""Every megabyte of them costs each fork: what few programs use, these import themselves."""


def warm_up(libraries: Sequence[str]) -> None:
    """Import the libraries and pay their lazy imports and caches once, in the mother.

    One BLAS thread: a pool of threads does not survive a fork, and the cores belong to the slots.
    """
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    for library in libraries:
        module = importlib.import_module(library)
        if library in _FIRST_USES:
            _FIRST_USES[library](module)
    os.environ.clear()


def _use_numpy(numpy: ModuleType) -> None:
    numpy.linalg.solve(numpy.eye(3), numpy.ones(3))
    str(numpy.random.default_rng(0).random(3))


def _use_sympy(sympy: ModuleType) -> None:
    x = sympy.Symbol("x")
    sympy.solve(x**2 - 5 * x + 6, x)
    sympy.factorint(360)
    str(sympy.integrate(sympy.sin(x) * x, x))


def _use_math_verify(math_verify: ModuleType) -> None:
    math_verify.verify(math_verify.parse("$\\frac{1}{2}$"), math_verify.parse("$0.5$"))


_FIRST_USES = {"numpy": _use_numpy, "sympy": _use_sympy, "math_verify": _use_math_verify}
