"""Which engines of a run are up: what each of them must know of the others.

An engine whose process died fails its turns as long as another is up, which then takes them. If it was the
last one, its turns wait: somebody will be back.
"""

import asyncio
from collections.abc import Callable


class Fleet:
    """Of `num_engines`, none of which is up at first."""

    def __init__(self, num_engines: int) -> None:
        self._is_up = [False] * num_engines
        self._change: asyncio.Future[None] | None = None
        self.on_return: Callable[[int], None] = lambda engine: None
        """Called with an engine that takes turns again."""

    @property
    def is_any_up(self) -> bool:
        return any(self._is_up)

    def rise(self, engine: int) -> None:
        self._is_up[engine] = True
        self.stir()
        self.on_return(engine)

    def fall(self, engine: int) -> None:
        self._is_up[engine] = False
        self.stir()

    def stir(self) -> None:
        """Have those who wait for a change look again."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def change(self) -> None:
        """Until the next rise, fall or stir."""
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._change)
