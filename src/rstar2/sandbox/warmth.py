"""What every program finds already imported, and the first uses that make later ones cheap."""

import importlib
import os

_LIBRARIES = ("numpy", "scipy", "mpmath", "sympy", "math_verify", "multiprocessing", "fractions", "itertools")


def warm_up() -> None:
    """Import the libraries and pay their lazy imports and caches once, in the mother.

    One BLAS thread: a pool of threads does not survive a fork, and the cores belong to the slots.
    """
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    for library in _LIBRARIES:
        importlib.import_module(library)
    _solve_something()
    os.environ.clear()


def _solve_something() -> None:
    numpy, sympy, math_verify = map(importlib.import_module, ("numpy", "sympy", "math_verify"))
    x = sympy.Symbol("x")
    sympy.solve(x**2 - 5 * x + 6, x)
    sympy.factorint(360)
    str(sympy.integrate(sympy.sin(x) * x, x))
    numpy.linalg.solve(numpy.eye(3), numpy.ones(3))
    math_verify.verify(math_verify.parse("$\\frac{1}{2}$"), math_verify.parse("$0.5$"))
