"""The descriptors of the pool's process: as many as the system lets it have, and a clear word for too few."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from rstar2.errors import SandboxError

_FEWEST = 512
"""For the child of a call to put its own in order on its way in (see `zygote`)."""


def allow_many() -> None:
    """Each worker takes up to nine, each live session eleven: the usual limit of 1,024 is soon reached.

    The processes that we start inherit the limit. SandboxError if it is too low for any program to run.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < _FEWEST:
        raise SandboxError(
            f"{most} descriptors are too few; raise their hard limit (ulimit -Hn) to {_FEWEST}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def lack_is_told() -> Iterator[None]:
    """What the system refuses us, for lack of descriptors as a rule, is a failure of the sandbox."""
    try:
        yield
    except OSError as error:
        raise SandboxError(
            f"the system refused the sandbox what it needs ({error}); if it was descriptors, "
            "raise their limit (ulimit -n) or use fewer workers and live sessions"
        ) from error
