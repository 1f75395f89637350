import asyncio
from collections.abc import Callable

import pytest

from rstar2.cluster.keeper import Keeper, together
from rstar2.cluster.remote import Remote
from rstar2.cluster.supervision import Restarts
from rstar2.errors import ConfigError, EngineError


class Machine:
    """Something remote that is ready at once, and ends when it is told."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()
        self.was_closed = False

    async def end(self) -> None:
        await self.has_ended.wait()

    async def close(self) -> None:
        self.was_closed = True


class Life:
    """A keeper's machines, in the order in which they were launched."""

    def __init__(self, here: Callable[[object], Remote], *, most: int = 5) -> None:
        self.machines: list[Machine] = []
        self.num_failures_to_come = 0
        self.failure: Exception = EngineError("no room")
        self.is_gone = False
        self._here = here
        self.keeper = Keeper(
            "machine",
            self._launch,
            prepare=self._prepare,
            watch=lambda remote: remote.call("end"),
            on_gone=self._gone,
            restarts=Restarts(most=most),
        )

    def _launch(self) -> Remote:
        self.machines.append(Machine())
        return self._here(self.machines[-1])

    async def _prepare(self, remote: Remote) -> None:
        if self.num_failures_to_come:
            self.num_failures_to_come -= 1
            raise self.failure

    def _gone(self) -> None:
        self.is_gone = True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are counted in supervision.py; here they need not be waited for."""
    monkeypatch.setattr("rstar2.cluster.supervision._FIRST_PAUSE_S", 0.001)


def test_what_ends_is_started_again(here: Callable[[object], Remote]) -> None:
    async def scenario() -> None:
        life = Life(here)
        await life.keeper.start()
        life.machines[0].has_ended.set()
        await until(lambda: life.keeper.num_replacements == 1)
        await life.keeper.close()
        assert [machine.was_closed for machine in life.machines] == [False, True]

    asyncio.run(scenario())


def test_a_replacement_that_fails_to_start_is_tried_again(here: Callable[[object], Remote]) -> None:
    async def scenario() -> None:
        life = Life(here)
        await life.keeper.start()
        life.num_failures_to_come = 2
        life.machines[0].has_ended.set()
        await until(lambda: life.keeper.num_replacements == 1)
        assert len(life.machines) == 4
        await life.keeper.close()

    asyncio.run(scenario())


def test_the_first_start_is_no_accident(here: Callable[[object], Remote]) -> None:
    async def scenario() -> None:
        life = Life(here)
        life.num_failures_to_come, life.failure = 1, ConfigError("no such model")
        with pytest.raises(ConfigError, match="no such model"):
            await life.keeper.start()
        await life.keeper.close()
        assert len(life.machines) == 1

    asyncio.run(scenario())


def test_what_dies_again_and_again_is_given_up(here: Callable[[object], Remote]) -> None:
    async def scenario() -> None:
        life = Life(here, most=2)
        await life.keeper.start()
        for _ in range(3):
            life.machines[-1].has_ended.set()
            num_before = len(life.machines)
            await until(lambda n=num_before: len(life.machines) > n or life.is_gone)
        assert life.is_gone
        assert len(life.machines) == 3
        await life.keeper.close()

    asyncio.run(scenario())


def test_if_one_of_several_starts_fails_the_others_are_broken_off() -> None:
    broken_off = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            broken_off.append(True)
            raise

    async def failing() -> None:
        raise ConfigError("no such model")

    with pytest.raises(ConfigError, match="no such model"):
        asyncio.run(together([slow(), failing(), slow()]))
    assert broken_off == [True, True]
