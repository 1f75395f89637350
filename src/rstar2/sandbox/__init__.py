"""Runs the model's programs: warm interpreters that fork a child per call, sealed by the kernel."""

from rstar2.sandbox.pool import WorkerPool

__all__ = ["WorkerPool"]
