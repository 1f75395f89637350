"""The descriptors of the pool's process: as many as the system lets it have, and a clear word for too few."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from rstar2.errors import SandboxError


def allow_many() -> None:
    """Each worker takes up to nine, each live session eleven: the usual limit of 1,024 is soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
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
