"""Who may begin when, under any durations; time is counted in rounds of the event loop."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.training.overlap import Overlap, may_begin

FIRST = 7


@dataclass
class Shop:
    """Plays and learns for as many rounds as it is told, and keeps a diary."""

    max_lag: int
    play_rounds: Iterator[int] = field(default_factory=lambda: repeat(1))
    learn_rounds: Iterator[int] = field(default_factory=lambda: repeat(1))
    channel_rounds: Iterator[int] = field(default_factory=lambda: repeat(1))
    enough_at: int = 10**6
    fails: dict[str, Exception] = field(default_factory=dict)
    """By what is begun, as in the diary."""
    diary: list[str] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    """Of the batches that were learned from."""
    version: int = -1
    """Of the engines."""

    def overlap(self) -> Overlap[tuple[int, int]]:
        return Overlap(
            max_lag=self.max_lag, publish=self.publish, adopt=self.adopt, play=self.play, learn=self.learn
        )

    async def work(self, what: str, rounds: int) -> None:
        self.diary.append(f"begin {what}")
        try:
            if what in self.fails:
                raise self.fails[what]
            for _ in range(rounds):
                await asyncio.sleep(0)
        finally:
            self.diary.append(f"end {what}")

    async def play(self, batch: int, version: int) -> tuple[int, int]:
        assert version == self.version
        await self.work(f"play {batch}", next(self.play_rounds))
        assert version == self.version, "weights changed under a batch"
        return batch, version

    async def learn(self, batch: tuple[int, int]) -> bool:
        number, version = batch
        self.lags.append(number - version)
        await self.work(f"learn {number}", next(self.learn_rounds))
        return number != self.enough_at

    async def publish(self, version: int) -> None:
        await self.work(f"channel {version}", next(self.channel_rounds))

    async def adopt(self, version: int) -> None:
        assert f"end channel {version}" in self.diary, "adopted before it was published"
        await self.work(f"channel {version}", next(self.channel_rounds))
        self.version = version

    def begun(self, kind: str) -> list[int]:
        return [int(event.split()[2]) for event in self.diary if event.startswith(f"begin {kind}")]

    def was_ever_open(self, *kinds: str) -> bool:
        """Whether work of all these kinds was under way at once; of one kind named twice, two of it."""
        count = dict.fromkeys(kinds, 0)
        for event in self.diary:
            edge, kind, _ = event.split()
            if kind in count:
                count[kind] += 1 if edge == "begin" else -1
            if sum(count.values()) >= len(kinds):
                return True
        return False


def run(shop: Shop, num_batches: int) -> None:
    asyncio.run(shop.overlap().run(FIRST, FIRST + num_batches - 1))


def forever(rounds: Sequence[int]) -> Iterator[int]:
    while True:
        yield from rounds


ROUNDS = st.lists(st.integers(0, 9), min_size=1, max_size=5).map(forever)
LEARN_ROUNDS = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(forever)
"""It is in a thread: that takes a round at least."""


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 4))
def test_a_batch_may_begin_if_its_lag_will_be_within_the_limit(batch: int, newest: int, max_lag: int) -> None:
    steps_before_it_is_learned_from = batch - newest
    assert may_begin(batch, newest=newest, max_lag=max_lag) == (steps_before_it_is_learned_from <= max_lag)


@given(
    max_lag=st.integers(0, 3), play=ROUNDS, learn=LEARN_ROUNDS, channel=ROUNDS, num_batches=st.integers(1, 12)
)
def test_every_batch_is_learned_from_once_in_order_and_never_older_than_allowed(
    max_lag: int, play: Iterator[int], learn: Iterator[int], channel: Iterator[int], num_batches: int
) -> None:
    shop = Shop(max_lag, play, learn, channel)
    run(shop, num_batches)
    batches = list(range(FIRST, FIRST + num_batches))
    assert shop.begun("play") == shop.begun("learn") == batches
    assert max(shop.lags) <= max_lag
    assert not shop.was_ever_open("channel", "channel"), "weights were put and fetched at once"
    if max_lag == 1:  # which weights play a batch depends on nothing: such a run repeats itself
        assert shop.lags == [0] + [1] * (num_batches - 1)


@given(play=ROUNDS, learn=ROUNDS, channel=ROUNDS)
def test_without_lag_they_take_turns(
    play: Iterator[int], learn: Iterator[int], channel: Iterator[int]
) -> None:
    shop = Shop(0, play, learn, channel)
    run(shop, 4)
    begun = [event for event in shop.diary if event.startswith("begin")]
    assert begun == [
        f"begin {what}"
        for n in range(FIRST, FIRST + 4)
        for what in (f"channel {n}", f"channel {n}", f"play {n}", f"learn {n}")
    ]
    assert not shop.was_ever_open("play", "learn")
    assert not shop.was_ever_open("play", "channel")


def test_with_lag_they_work_at_the_same_time() -> None:
    shop = Shop(1, repeat(5), repeat(5))
    run(shop, 3)
    assert shop.was_ever_open("play", "learn")


async def rounds_of(work: Coroutine[None, None, None]) -> int:
    """Of the event loop, until the work has ended."""
    task, num_rounds = asyncio.create_task(work), 0
    while not task.done():
        await asyncio.sleep(0)
        num_rounds += 1
    return num_rounds


@pytest.mark.parametrize(("play", "learn"), [(50, 30), (30, 50)])
def test_a_step_takes_as_long_as_the_slower_side_instead_of_both(play: int, learn: int) -> None:
    num_batches, handing_over = 10, 10
    rounds = {
        max_lag: asyncio.run(
            rounds_of(Shop(max_lag, repeat(play), repeat(learn)).overlap().run(0, num_batches - 1))
        )
        for max_lag in (0, 1)
    }
    assert rounds[0] >= num_batches * (play + learn)
    assert rounds[1] <= num_batches * (max(play, learn) + handing_over) + min(play, learn)


def test_engines_run_no_further_ahead_than_the_lag() -> None:
    shop = Shop(2, repeat(0), repeat(50))
    run(shop, 6)
    before = shop.diary[: shop.diary.index(f"end learn {FIRST}")]
    assert [event for event in before if event.startswith("begin play")] == [
        f"begin play {n}" for n in (FIRST, FIRST + 1, FIRST + 2)
    ]
    assert shop.lags == [0, 1, 2, 2, 2, 2]


def test_who_has_learned_enough_ends_what_is_played_by_then() -> None:
    shop = Shop(1, repeat(30), repeat(3), enough_at=FIRST + 1)
    run(shop, 9)
    assert shop.begun("learn") == [FIRST, FIRST + 1]
    assert shop.diary[-1] == f"end play {FIRST + 2}"
    assert f"begin channel {FIRST + 2}" not in shop.diary, "weights that nobody plays with were published"


@pytest.mark.parametrize("what", [f"play {FIRST + 2}", f"learn {FIRST + 1}", f"channel {FIRST + 1}"])
@pytest.mark.parametrize("max_lag", [0, 1, 2])
def test_a_failure_of_either_side_ends_both_and_keeps_its_cause(what: str, max_lag: int) -> None:
    failure = OSError("the first")
    failure.__cause__ = cause = ValueError("why")
    shop = Shop(max_lag, repeat(3), repeat(3), fails={what: failure})
    with pytest.raises(OSError, match="the first") as raised:
        run(shop, 9)
    assert raised.value.__cause__ is cause
    events = [tuple(event.split(maxsplit=1)) for event in shop.diary]
    begun, ended = ([name for edge, name in events if edge == side] for side in ("begin", "end"))
    assert sorted(begun) == sorted(ended)


def test_of_two_failures_the_first_is_raised() -> None:
    class Shaky(Shop):
        async def play(self, batch: int, version: int) -> tuple[int, int]:
            try:
                return await super().play(batch, version)
            except asyncio.CancelledError:
                raise OSError("the second, while it was being ended") from None

    shop = Shaky(1, repeat(99), repeat(1), fails={f"learn {FIRST}": ValueError("the first")})
    shop.play_rounds = iter([1, 99])
    with pytest.raises(ValueError, match="the first"):
        run(shop, 3)


def test_a_cancellation_ends_both() -> None:
    async def scenario() -> None:
        shop = Shop(1, repeat(50), repeat(50))
        task = asyncio.create_task(shop.overlap().run(FIRST, FIRST + 8))
        while not shop.was_ever_open("play", "learn"):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert {f"end play {FIRST + 1}", f"end learn {FIRST}"} <= set(shop.diary)

    asyncio.run(scenario())
