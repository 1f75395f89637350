"""Starts one of this folder's modules in an interpreter that knows nothing else of ours."""

import sys
from pathlib import Path

_SCRIPT = """
import sys, types
for name in ("rstar2", "rstar2.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["rstar2.sandbox"].__path__ = [sys.argv.pop(1)]
import importlib
importlib.import_module("rstar2.sandbox." + sys.argv.pop(1)).main(*sys.argv[1:])
"""
"""Our packages as empty shells: their `__init__` modules would pull in the rest of the project."""

ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All that it inherits. A fixed hash seed: the order of a set of strings is the same in every run."""


def command(module: str, *arguments: str) -> list[str]:
    """argv that calls `main` of `rstar2.sandbox.<module>` with these arguments."""
    return [sys.executable, "-P", "-s", "-c", _SCRIPT, str(Path(__file__).parent), module, *arguments]
