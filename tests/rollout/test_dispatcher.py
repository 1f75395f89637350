import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import CapacityError, EngineError
from rstar2.ports import WeightChannel
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.placement.catalog import POLICY_NAMES, make_policy
from rstar2.rollout.placement.lengths import Lengths
from rstar2.rollout.placement.policy import Order, Ready, Start, Stop
from rstar2.rollout.placement.worst_case import WorstCaseReservation
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest
from rstar2.weights import MemoryChannel


def request(rollout_id: str, tokens: int = 10, *, group_id: str = "") -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id=group_id or rollout_id, token_ids=(5, 6), prompt_length=2,
        max_new_tokens=3, max_total_tokens=tokens, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def patient(engines: Sequence[ScriptedEngine], **changes: int) -> Dispatcher:
    """Of the paper's policy: a rollout begins where its longest course has room."""
    return Dispatcher(engines, new_policy=WorstCaseReservation, **changes)


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
                assert load.kv_tokens_used <= load.kv_tokens_total
            assert all(e.load().num_waiting == 0 for e in engines), (
                "an engine was sent more than it has room for"
            )
        dispatcher.release(name)

    async def scenario() -> None:
        dispatcher = patient(engines)
        async with asyncio.timeout(5):
            await asyncio.gather(*(play(dispatcher, i, *rollout) for i, rollout in enumerate(rollouts)))
        assert all(load.kv_tokens_used == 0 for load in dispatcher.loads())

    asyncio.run(scenario())
    for index, (_, turns, _, lost) in enumerate(rollouts):
        assert answered[index] >= turns - lost


def test_the_first_to_come_is_served_first_and_small_ones_do_not_overtake() -> None:
    async def scenario() -> None:
        one = engine(20)
        dispatcher = patient([one])
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
        dispatcher = patient(engines)
        await asyncio.gather(*(dispatcher.generate(request(n)) for n in "abcd"))
        assert [names(e) for e in engines] == [["a", "c"], ["b", "d"]]
        dispatcher.release("a")
        dispatcher.release("c")
        await dispatcher.generate(request("d"))
        assert names(engines[1]) == ["b", "d", "d"]

    asyncio.run(scenario())


def test_what_fits_no_engine_is_refused_at_once_with_the_remedy() -> None:
    async def scenario() -> None:
        with pytest.raises(CapacityError, match=r"up to 31 tokens.*raise engine.kv_tokens"):
            await patient([engine(20), engine(30)]).generate(request("big", 31))

    asyncio.run(scenario())


def test_what_exceeds_the_context_of_every_engine_is_refused_whatever_their_room() -> None:
    async def scenario() -> None:
        roomy = engine(100)
        load = roomy.load()
        roomy.load = lambda: replace(load, context_tokens=30)  # type: ignore[method-assign]
        with pytest.raises(CapacityError, match=r"up to 31 tokens fits no engine"):
            await patient([roomy]).generate(request("big", 31))

    asyncio.run(scenario())


def test_a_rollout_moves_from_a_failed_engine_with_all_its_tokens() -> None:
    async def scenario() -> None:
        broken, sound = engine(30, is_broken=True), engine(20)
        dispatcher = patient([broken, sound])
        generation = await dispatcher.generate(request("a"))
        assert generation.token_ids == (7, 1)
        assert dispatcher.num_moves == 1
        assert broken.requests == sound.requests == [replace(request("a"), is_reserved=True)]
        assert [load.kv_tokens_used for load in dispatcher.loads()] == [0, 4]

    asyncio.run(scenario())


@pytest.mark.parametrize(("max_moves", "num_asked"), [(0, 1), (1, 2), (2, 3), (9, 4)])
def test_a_rollout_moves_at_most_so_often_and_frees_its_room_when_it_fails(
    max_moves: int, num_asked: int
) -> None:
    async def scenario() -> None:
        engines = [engine(is_broken=True) for _ in range(4)]
        dispatcher = patient(engines, max_moves=max_moves)
        with pytest.raises(EngineError):
            await dispatcher.generate(request("a"))
        assert sum(len(e.requests) for e in engines) == num_asked
        assert dispatcher.num_moves == num_asked - 1
        assert all(load.kv_tokens_used == 0 for load in dispatcher.loads())

    asyncio.run(scenario())


def test_a_rollout_too_long_for_the_other_engines_fails_with_its_own_and_blocks_nobody() -> None:
    async def scenario() -> None:
        dispatcher = patient([engine(30, is_broken=True), engine(20)])
        async with asyncio.timeout(1):
            with pytest.raises(EngineError):
                await dispatcher.generate(request("long", 25))
            await dispatcher.generate(request("short", 20))

    asyncio.run(scenario())


def test_a_cancelled_rollout_in_the_queue_lets_those_behind_it_through() -> None:
    async def scenario() -> None:
        dispatcher = patient([engine(20)])
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
        dispatcher = patient([engine(20)])
        await dispatcher.generate(request("holder", 20))
        waiting = asyncio.ensure_future(dispatcher.generate(request("late", 20)))
        await soon()
        dispatcher.release("holder")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert dispatcher.loads()[0].kv_tokens_used == 0

    asyncio.run(scenario())


def test_weights_are_swapped_on_all_engines_and_only_between_rollouts() -> None:
    async def scenario() -> None:
        engines, channel = [engine(), engine()], MemoryChannel()
        channel.put(3, {})
        dispatcher = patient(engines)
        await dispatcher.generate(request("a"))
        with pytest.raises(AssertionError, match="in flight"):
            await dispatcher.adopt(channel, 3)
        dispatcher.release("a")
        await dispatcher.adopt(channel, 3)
        assert [e.load().version for e in engines] == [3, 3]

    asyncio.run(scenario())


def test_closing_closes_every_engine() -> None:
    async def scenario() -> None:
        dispatcher = patient([engine(), engine()], max_moves=0)
        await dispatcher.close()
        for name in "ab":
            with pytest.raises(EngineError, match="closed"):
                await dispatcher.generate(request(name))

    asyncio.run(scenario())


PROMPT_TOKENS = 5
LIMIT_TOKENS = 40


def token_at(name: str, position: int) -> int:
    return 100 + (7 * position + sum(map(ord, name))) % 89


class Plan(NamedTuple):
    """A rollout that is to be played: how long its turns are, and what its tools take."""

    group: int
    turn_tokens: tuple[int, ...]
    tool_rounds: int

    def turn_ends(self) -> list[int]:
        """Position after each turn's last token; a tool response has one token."""
        ends, position = [], PROMPT_TOKENS
        for tokens in self.turn_tokens:
            ends.append(position + tokens)
            position += tokens + 1
        return ends


async def play(dispatcher: Dispatcher, name: str, plan: Plan) -> tuple[int, ...]:
    """The whole token stream."""
    token_ids: tuple[int, ...] = (5,) * PROMPT_TOKENS
    for _ in plan.turn_tokens:
        turn = GenerationRequest(
            rollout_id=name, group_id=f"g{plan.group}", token_ids=token_ids, prompt_length=PROMPT_TOKENS,
            max_new_tokens=LIMIT_TOKENS - len(token_ids), max_total_tokens=LIMIT_TOKENS, temperature=1.0,
            top_p=1.0, seed=0,
        )  # fmt: skip
        generation = await dispatcher.generate(turn)
        assert len(generation.logprobs) == len(generation.token_ids)
        assert generation.finish is FinishReason.STOP
        for _ in range(plan.tool_rounds):
            await asyncio.sleep(0)
        token_ids += (*generation.token_ids, 9)
    dispatcher.release(name, is_complete=True)
    return token_ids


def expected_stream(name: str, plan: Plan) -> tuple[int, ...]:
    token_ids: tuple[int, ...] = (5,) * PROMPT_TOKENS
    for end in plan.turn_ends():
        token_ids += (*(token_at(name, p) for p in range(len(token_ids), end)), 9)
    return token_ids


def engine_that_knows(plans: Sequence[Plan], kv_tokens: int, max_running: int) -> ScriptedEngine:
    """Its tokens depend on rollout and position alone, as a real engine's draws do."""

    def script(request: GenerationRequest) -> tuple[int, ...]:
        begin = len(request.token_ids)
        end = next(end for end in plans[int(request.rollout_id)].turn_ends() if end > begin)
        return tuple(token_at(request.rollout_id, position) for position in range(begin, end))

    return ScriptedEngine(script, kv_tokens=kv_tokens, max_running=max_running)


plans_of_a_step = st.lists(
    st.builds(
        Plan,
        group=st.integers(0, 2),
        turn_tokens=st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple),
        tool_rounds=st.integers(0, 6),
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.parametrize("name", POLICY_NAMES)
@example(  # a rollout was told to go on and to stop in one breath
    plans=[Plan(group=0, turn_tokens=(1,) * n, tool_rounds=0) for n in (3, 1, 3, 3)],
    num_engines=1,
    kv_tokens=75,
    max_running=1,
    death_round=0,
)
@settings(max_examples=25, deadline=None)
@given(
    plans=plans_of_a_step,
    num_engines=st.integers(1, 3),
    kv_tokens=st.integers(LIMIT_TOKENS, 100),
    max_running=st.integers(1, 6),
    death_round=st.integers(0, 60),
)
def test_under_every_policy_each_rollout_ends_once_with_its_own_tokens_though_an_engine_dies(
    name: str, plans: list[Plan], num_engines: int, kv_tokens: int, max_running: int, death_round: int
) -> None:
    engines = [engine_that_knows(plans, kv_tokens, max_running) for _ in range(num_engines)]
    ended: Counter[str] = Counter()
    lengths = Lengths()

    async def play_and_check(dispatcher: Dispatcher, rollout_id: str, plan: Plan) -> None:
        assert await play(dispatcher, rollout_id, plan) == expected_stream(rollout_id, plan)
        ended[rollout_id] += 1

    async def die() -> None:
        for _ in range(death_round):
            await asyncio.sleep(0)
            assert all(load.kv_tokens_used <= load.kv_tokens_total for load in dispatcher.loads())
        if num_engines > 1:
            await engines[0].close()

    async def scenario() -> None:
        nonlocal dispatcher
        dispatcher = Dispatcher(engines, new_policy=partial(make_policy, name, lengths=lengths))
        async with asyncio.timeout(10):
            await asyncio.gather(die(), *(play_and_check(dispatcher, str(i), p) for i, p in enumerate(plans)))
        assert all(load.kv_tokens_used == 0 for load in dispatcher.loads())

    dispatcher = Dispatcher(engines)
    for _ in range(1 if num_engines > 1 else 2):  # the second time lengths are known
        ended.clear()
        asyncio.run(scenario())
        assert ended == Counter(str(i) for i in range(len(plans)))


class StopsEveryTurnOnce:
    """Sends each turn to its only engine, breaks it off after some decisions, and starts it again."""

    def __init__(self, num_engines: int) -> None:
        self._ready: list[str] = []
        self._running: list[str] = []
        self._stopped: set[str] = set()

    def ready(self, rollout: Ready) -> None:
        self._ready.append(rollout.rollout_id)

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None: ...

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None: ...

    def engine_lost(self, engine: int) -> None: ...

    def engine_returned(self, engine: int) -> None: ...

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        orders: list[Order] = [Stop(rollout_id=name) for name in self._running if name not in self._stopped]
        self._stopped.update(self._running)
        self._running = self._ready
        orders += [Start(rollout_id=name, engine=0, reserved_tokens=9) for name in self._ready]
        self._ready = []
        return orders


def test_a_turn_that_the_policy_breaks_off_goes_on_from_its_tokens() -> None:
    plans = [Plan(0, (20,), 0), Plan(0, (20,), 0)]

    async def scenario() -> None:
        one = engine_that_knows(plans, 200, 9)
        dispatcher = Dispatcher([one], new_policy=StopsEveryTurnOnce)
        first = asyncio.ensure_future(play(dispatcher, "0", plans[0]))
        await soon()
        second = asyncio.ensure_future(play(dispatcher, "1", plans[1]))  # its arrival makes the policy decide
        assert await first == expected_stream("0", plans[0])
        assert await second == expected_stream("1", plans[1])
        assert dispatcher.num_stops == 2
        _, again = (r for r in one.requests if r.rollout_id == "0")
        assert PROMPT_TOKENS < len(again.token_ids) == LIMIT_TOKENS - again.max_new_tokens

    asyncio.run(scenario())


class Refuses(StopsEveryTurnOnce):
    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        return []


class Breaks(StopsEveryTurnOnce):
    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        raise ZeroDivisionError


@pytest.mark.parametrize(("policy", "error"), [(Refuses, CapacityError), (Breaks, ZeroDivisionError)])
def test_a_policy_that_starts_nobody_or_breaks_makes_nobody_wait_forever(
    policy: type[StopsEveryTurnOnce], error: type[Exception]
) -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher([engine()], new_policy=policy)
        async with asyncio.timeout(1):
            outcomes = await asyncio.gather(
                *(dispatcher.generate(request(name)) for name in "ab"), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [error, error]

    asyncio.run(scenario())


def test_an_engine_that_died_is_left_out_when_weights_are_swapped_and_all_dead_is_an_error() -> None:
    async def scenario() -> None:
        engines, channel = [engine(), engine()], MemoryChannel()
        channel.put(3, {})
        dispatcher = patient(engines)
        await engines[0].close()
        await dispatcher.adopt(channel, 3)
        for name in "ab":
            await dispatcher.generate(request(name))
            dispatcher.release(name)
        assert (names(engines[0]), names(engines[1])) == ([], ["a", "b"])
        await engines[1].close()
        with pytest.raises(EngineError, match="closed"):
            await dispatcher.adopt(channel, 3)

    asyncio.run(scenario())


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_an_engine_that_is_back_takes_turns_again_with_the_same_weights(policy: str) -> None:
    async def scenario() -> None:
        is_broken = True
        engines = [ScriptedEngine(lambda r: (7, 1), kv_tokens=40, is_failure=lambda r: is_broken), engine(40)]
        dispatcher = Dispatcher(engines, new_policy=partial(make_policy, policy))

        async def play(name: str) -> None:
            await dispatcher.generate(request(name))
            dispatcher.release(name)

        async with asyncio.timeout(5):
            await asyncio.gather(*map(play, "abcd"))
            assert sorted(names(engines[1])) == list("abcd")
            is_broken = False
            dispatcher.engine_returned(0)
            engines[0].requests.clear()
            await asyncio.gather(*map(play, "efgh"))
        assert names(engines[0])

    asyncio.run(scenario())


def test_a_turn_may_come_back_to_an_engine_that_is_back() -> None:
    async def scenario() -> None:
        broken = {0}
        engines = [
            ScriptedEngine(lambda r: (7, 1), num_steps=9, is_failure=lambda r, n=n: n in broken)
            for n in (0, 1)
        ]
        dispatcher = patient(engines)
        turn = asyncio.ensure_future(dispatcher.generate(request("a")))
        while not engines[1].requests:  # moved there
            await asyncio.sleep(0)
        broken = {1}
        dispatcher.engine_returned(0)
        assert (await turn).token_ids == (7, 1)
        assert dispatcher.num_moves == 2

    asyncio.run(scenario())


def test_an_engine_that_comes_back_while_weights_are_swapped_is_not_left_out() -> None:
    class Returning(ScriptedEngine):
        async def adopt(self, channel: WeightChannel, version: int) -> None:
            dispatcher.engine_returned(0)
            raise EngineError("it was being replaced when the swap began")

    engines = [Returning(lambda r: (7, 1)), engine()]
    dispatcher = patient(engines)

    async def scenario() -> None:
        channel = MemoryChannel()
        channel.put(1, {})
        await dispatcher.adopt(channel, 1)
        await asyncio.gather(*(dispatcher.generate(request(name)) for name in "ab"))
        assert names(engines[0])

    asyncio.run(scenario())
