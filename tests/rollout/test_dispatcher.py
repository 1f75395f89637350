import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import CapacityError, EngineError
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.types import Generation, GenerationRequest
from rstar2.weights import MemoryChannel


def request(rollout_id: str, tokens: int = 10, *, group_id: str = "") -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id=group_id or rollout_id, token_ids=(5, 6), prompt_length=2,
        max_new_tokens=3, max_total_tokens=tokens, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def engine(kv_tokens: int = 20, *, num_steps: int = 1, is_broken: bool = False) -> ScriptedEngine:
    return ScriptedEngine(
        lambda r: (7, 1), kv_tokens=kv_tokens, num_steps=num_steps, is_failure=lambda r: is_broken
    )


def names(engine: ScriptedEngine) -> list[str]:
    return [r.rollout_id for r in engine.requests]


async def soon() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@settings(max_examples=40, deadline=None)
@given(
    rollouts=st.lists(
        st.tuples(st.integers(5, 30), st.integers(1, 3), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    sizes=st.lists(st.integers(30, 45), min_size=1, max_size=3),
)
def test_random_workloads_never_over_commit_and_end_with_all_room_free(
    rollouts: list[tuple[int, int, int, bool]], sizes: list[int]
) -> None:
    engines = [engine(size) for size in sizes]
    answered: Counter[int] = Counter()

    async def play(
        dispatcher: Dispatcher, index: int, tokens: int, turns: int, wait: int, lost: bool
    ) -> None:
        name = str(index)
        for turn in range(turns):
            task = asyncio.ensure_future(dispatcher.generate(request(name, tokens)))
            if lost and turn == turns - 1:
                for _ in range(wait):
                    await asyncio.sleep(0)
                task.cancel()
            answered[index] += isinstance((await asyncio.gather(task, return_exceptions=True))[0], Generation)
            for load in dispatcher.loads():
                assert load.kv_tokens_reserved <= load.kv_tokens_total
            assert all(e.load().num_waiting == 0 for e in engines), (
                "an engine was sent more than it has room for"
            )
        dispatcher.release(name)

    async def scenario() -> None:
        dispatcher = Dispatcher(engines)
        async with asyncio.timeout(5):
            await asyncio.gather(*(play(dispatcher, i, *rollout) for i, rollout in enumerate(rollouts)))
        assert all(load.kv_tokens_reserved == 0 for load in dispatcher.loads())

    asyncio.run(scenario())
    for index, (_, turns, _, lost) in enumerate(rollouts):
        assert answered[index] >= turns - lost


def test_the_first_to_come_is_served_first_and_small_ones_do_not_overtake() -> None:
    async def scenario() -> None:
        one = engine(20)
        dispatcher = Dispatcher([one])
        await dispatcher.generate(request("holder", 15))
        queue = [
            asyncio.ensure_future(dispatcher.generate(request(n, t))) for n, t in (("big", 20), ("small", 5))
        ]
        await soon()
        assert names(one) == ["holder"]
        dispatcher.release("holder")
        await queue[0]
        assert names(one) == ["holder", "big"]
        dispatcher.release("big")
        await queue[1]

    asyncio.run(scenario())


def test_a_burst_fills_equal_engines_in_turn_and_later_turns_go_back_to_their_engine() -> None:
    async def scenario() -> None:
        engines = [engine(20), engine(20)]
        dispatcher = Dispatcher(engines)
        await asyncio.gather(*(dispatcher.generate(request(n)) for n in "abcd"))
        assert [names(e) for e in engines] == [["a", "c"], ["b", "d"]]
        dispatcher.release("a")
        dispatcher.release("c")
        await dispatcher.generate(request("d"))
        assert names(engines[1]) == ["b", "d", "d"]

    asyncio.run(scenario())


def test_a_group_stays_where_its_prompt_is_while_there_is_room() -> None:
    async def scenario() -> None:
        engines = [engine(25), engine(20)]
        dispatcher = Dispatcher(engines)
        await asyncio.gather(*(dispatcher.generate(request(n, group_id="g")) for n in "abc"))
        assert [names(e) for e in engines] == [["a", "b"], ["c"]]

    asyncio.run(scenario())


def test_what_fits_no_engine_is_refused_at_once_with_the_remedy() -> None:
    async def scenario() -> None:
        with pytest.raises(CapacityError, match=r"up to 31 tokens.*raise engine.kv_tokens"):
            await Dispatcher([engine(20), engine(30)]).generate(request("big", 31))

    asyncio.run(scenario())


def test_a_rollout_moves_from_a_failed_engine_with_all_its_tokens() -> None:
    async def scenario() -> None:
        broken, sound = engine(30, is_broken=True), engine(20)
        dispatcher = Dispatcher([broken, sound])
        generation = await dispatcher.generate(request("a"))
        assert generation.token_ids == (7, 1)
        assert dispatcher.num_moves == 1
        assert broken.requests == sound.requests == [request("a")]
        assert [load.kv_tokens_reserved for load in dispatcher.loads()] == [0, 10]

    asyncio.run(scenario())


@pytest.mark.parametrize(("max_moves", "num_asked"), [(0, 1), (1, 2), (2, 3), (9, 4)])
def test_a_rollout_moves_at_most_so_often_and_frees_its_room_when_it_fails(
    max_moves: int, num_asked: int
) -> None:
    async def scenario() -> None:
        engines = [engine(is_broken=True) for _ in range(4)]
        dispatcher = Dispatcher(engines, max_moves=max_moves)
        with pytest.raises(EngineError):
            await dispatcher.generate(request("a"))
        assert sum(len(e.requests) for e in engines) == num_asked
        assert dispatcher.num_moves == num_asked - 1
        assert all(load.kv_tokens_reserved == 0 for load in dispatcher.loads())

    asyncio.run(scenario())


def test_a_rollout_too_long_for_the_other_engines_fails_with_its_own_and_blocks_nobody() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher([engine(30, is_broken=True), engine(20)])
        async with asyncio.timeout(1):
            with pytest.raises(EngineError):
                await dispatcher.generate(request("long", 25))
            await dispatcher.generate(request("short", 20))

    asyncio.run(scenario())


def test_a_cancelled_rollout_in_the_queue_lets_those_behind_it_through() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher([engine(20)])
        await dispatcher.generate(request("holder", 15))
        big = asyncio.ensure_future(dispatcher.generate(request("big", 20)))
        small = asyncio.ensure_future(dispatcher.generate(request("small", 5)))
        await soon()
        big.cancel()
        async with asyncio.timeout(1):
            await small

    asyncio.run(scenario())


def test_a_rollout_cancelled_in_the_moment_of_its_admission_keeps_no_room() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher([engine(20)])
        await dispatcher.generate(request("holder", 20))
        waiting = asyncio.ensure_future(dispatcher.generate(request("late", 20)))
        await soon()
        dispatcher.release("holder")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert dispatcher.loads()[0].kv_tokens_reserved == 0

    asyncio.run(scenario())


def test_weights_are_swapped_on_all_engines_and_only_between_rollouts() -> None:
    async def scenario() -> None:
        engines, channel = [engine(), engine()], MemoryChannel()
        channel.put(3, {})
        dispatcher = Dispatcher(engines)
        await dispatcher.generate(request("a"))
        with pytest.raises(AssertionError, match="in flight"):
            await dispatcher.adopt(channel, 3)
        dispatcher.release("a")
        await dispatcher.adopt(channel, 3)
        assert [e.load().version for e in engines] == [3, 3]

    asyncio.run(scenario())


def test_closing_closes_every_engine() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher([engine(), engine()], max_moves=0)
        await dispatcher.close()
        for name in "ab":
            with pytest.raises(EngineError, match="closed"):
                await dispatcher.generate(request(name))

    asyncio.run(scenario())
