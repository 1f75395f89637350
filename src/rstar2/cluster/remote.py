"""An object in another process, as whoever calls it sees it; how processes are started is not known here.

What its methods raise comes back as it is. `Lost` means that the process is gone and will not answer again.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from rstar2.errors import InfrastructureError


class Lost(InfrastructureError):
    """The process of a remote object has ended."""


class Remote(Protocol):
    """One object in one process."""

    async def call(self, method: str, *args: object) -> Any:
        """What the method returns. Calls may overtake each other."""

    def tell(self, method: str, *args: object) -> None:
        """The same, but nobody waits for it, and a loss goes unnoticed."""

    def kill(self) -> None:
        """End the process at once; harmless if it has ended."""


Launch: TypeAlias = Callable[[], Remote]
"""Begins to start a process; its first call waits until it stands."""
