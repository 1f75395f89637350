"""What a probe is, and how its programs are put together."""

from dataclasses import dataclass
from textwrap import dedent

HELD = "held"

_BEFORE = """
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
breaches = []
def refused(what, action):
    try:
        result = action()
    except (OSError, ValueError, ImportError, RuntimeError):
        return
    if not (isinstance(result, int) and result < 0):
        breaches.append(what)
def syscall(*arguments):
    "A raw system call; the numbers in the probes are those of x86_64."
    return libc.syscall(*map(ctypes.c_long, arguments)) if os.uname().machine == "x86_64" else -1
"""
_AFTER = f"""
print("{HELD}" if not breaches else f"breached: {{breaches}}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One attack."""

    kind: str
    """Its class: secrets, escape, cross-call, network, resources, forgery, residue."""
    name: str
    programs: tuple[str, ...]
    """Run one after the other, best on the same worker; the verdict is the last one's stdout."""


def probe(kind: str, name: str, *bodies: str) -> Probe:
    return Probe(kind=kind, name=name, programs=tuple(_BEFORE + dedent(body) + _AFTER for body in bodies))
