"""An engine whose process may die, without processes: what its callers see."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from rstar2.cluster.engine import ActorEngine, Timing
from rstar2.cluster.engine_actor import EngineActor, Snapshot
from rstar2.cluster.fleet import Fleet
from rstar2.cluster.remote import Remote
from rstar2.cluster.supervision import Restarts
from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import EngineError
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.types import FinishReason, Generation, GenerationRequest
from rstar2.weights import MemoryChannel

Here = Callable[[object], Remote]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    turns: int = 0
    peak_running: int = 0


class Counting(ScriptedEngine):
    """A scripted engine that counts its turns."""

    @property
    def stats(self) -> Stats:
        return Stats(turns=len(self.requests), peak_running=max(1, self.load().num_running))


class Machines:
    """The processes of a few engines, dead ones included."""

    def __init__(self, here: Here, num_engines: int = 2, *, num_steps: int = 5, most: int = 5) -> None:
        self.fleet = Fleet(num_engines)
        self.num_steps = num_steps
        self.launch_actor = EngineActor
        self.may_start = asyncio.Event()
        """Cleared, replacements hang until it is set."""
        self.may_start.set()
        self.remotes: list[list[Remote]] = [[] for _ in range(num_engines)]
        self.built: list[Counting] = []
        self.engines = [
            ActorEngine(
                number,
                self.fleet,
                partial(self._launch, here, number),
                self._build,
                timing=Timing(poll_every_s=0.002),
                restarts=Restarts(most=most),
            )
            for number in range(num_engines)
        ]

    def _launch(self, here: Here, number: int) -> Remote:
        self.remotes[number].append(here(self.launch_actor()))
        return self.remotes[number][-1]

    async def _build(self) -> Counting:
        await self.may_start.wait()
        self.built.append(Counting(lambda r: (7, 8, 1), kv_tokens=100, num_steps=self.num_steps))
        return self.built[-1]

    async def __aenter__(self) -> "Machines":
        await asyncio.gather(*(engine.start() for engine in self.engines))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(engine.close() for engine in self.engines))

    def kill(self, number: int) -> None:
        self.remotes[number][-1].kill()


def request(rollout_id: str = "r", tokens: Sequence[int] = (5, 6)) -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id=rollout_id, token_ids=tuple(tokens), prompt_length=2,
        max_new_tokens=9, max_total_tokens=20, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def play(scenario: Callable[[], object]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()  # type: ignore[misc]

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def has_turns(engine: ActorEngine) -> bool:
    return engine.load().num_running + engine.load().num_waiting > 0


def channel_with(*versions: int) -> MemoryChannel:
    channel = MemoryChannel(keep=9)
    for version in versions:
        channel.put(version, {"w": torch.zeros(1)})
    return channel


def test_what_an_engine_told_before_an_adoption_is_not_believed_after_it(here: Here) -> None:
    may_tell, is_asked = asyncio.Event(), asyncio.Event()

    class SlowToTell(EngineActor):
        async def snapshot(self) -> Snapshot:
            told = await super().snapshot()
            is_asked.set()
            await may_tell.wait()
            return told

    async def scenario() -> None:
        async with Machines(here, 1) as machines:
            machines.launch_actor = SlowToTell
            machines.kill(0)
            (engine,) = machines.engines
            await engine.adopt(channel_with(0), 0)
            is_asked.clear()
            await is_asked.wait()
            await engine.adopt(channel_with(1), 1)
            may_tell.set()
            for _ in range(20):
                await asyncio.sleep(0)
                assert engine.load().version == 1

    play(scenario)


def test_a_turn_is_what_the_engine_writes_and_its_load_comes_with_it(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, 1) as machines:
            (engine,) = machines.engines
            turn = asyncio.ensure_future(engine.generate(request()))
            await asyncio.sleep(0)
            assert engine.load().num_waiting == 1, "what was sent counts before the engine has told of it"
            assert engine.load().kv_tokens_used == 2
            assert (await turn).token_ids == (7, 8, 1)
            assert engine.load().num_waiting == 0
            assert engine.load().kv_tokens_used == machines.built[0].load().kv_tokens_used > 0
            assert engine.stats.turns == 1

    play(scenario)


def test_turns_of_a_dead_engine_fail_while_another_is_up(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, num_steps=1_000_000) as machines:
            machines.may_start.clear()
            turn = asyncio.ensure_future(machines.engines[0].generate(request()))
            await until(lambda: bool(machines.built[0].requests))
            machines.kill(0)
            with pytest.raises(EngineError, match="ask another"):
                await turn
            with pytest.raises(EngineError, match="being replaced"):
                await machines.engines[0].generate(request("s"))
            machines.may_start.set()

    play(scenario)


def test_turns_of_the_last_engine_wait_for_its_replacement(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, 1, num_steps=1_000_000) as machines:
            machines.num_steps = 2
            turn = asyncio.ensure_future(machines.engines[0].generate(request()))
            await until(lambda: bool(machines.built[0].requests))
            machines.kill(0)
            assert (await turn).token_ids == (7, 8, 1)
            assert [len(engine.requests) for engine in machines.built] == [1, 1]
            assert machines.engines[0].num_replacements == 1
            assert machines.engines[0].stats.turns >= 1, "counters never go backwards"

    play(scenario)


def test_an_idle_engine_that_dies_is_noticed_and_replaced(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here) as machines:
            back = list[int]()
            machines.fleet.on_return = back.append
            machines.kill(1)
            await until(lambda: back == [1])
            assert (await machines.engines[1].generate(request())).token_ids == (7, 8, 1)

    play(scenario)


def test_a_replacement_takes_turns_only_with_the_weights_that_the_others_have(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here) as machines:
            channel = channel_with(3, 4)
            await asyncio.gather(*(engine.adopt(channel, 3) for engine in machines.engines))
            machines.may_start.clear()
            machines.kill(0)
            await until(lambda: len(machines.remotes[0]) == 2)
            with pytest.raises(EngineError):
                await machines.engines[0].adopt(channel, 4)
            await machines.engines[1].adopt(channel, 4)
            back = list[int]()
            machines.fleet.on_return = back.append
            machines.may_start.set()
            await until(lambda: back == [0])
            assert machines.engines[0].load().version == 4
            assert (await machines.engines[0].generate(request())).version == 4

    play(scenario)


def test_an_engine_is_stale_until_it_has_adopted(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here) as machines:
            adoption = asyncio.ensure_future(machines.engines[0].adopt(channel_with(1), 1))
            await asyncio.sleep(0)
            with pytest.raises(EngineError, match="stale"):
                await machines.engines[0].generate(request())
            await adoption
            assert (await machines.engines[0].generate(request())).version == 1

    play(scenario)


def test_an_engine_that_fails_in_a_living_process_is_replaced_too(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here) as machines:
            await asyncio.gather(*(engine.adopt(channel_with(1), 1) for engine in machines.engines))
            back = list[int]()
            machines.fleet.on_return = back.append
            await machines.built[0].close()  # as a device error would have it
            with pytest.raises(EngineError, match="being replaced"):
                await machines.engines[0].generate(request())
            await until(lambda: back == [0])
            assert (await machines.engines[0].generate(request())).version == 1

    play(scenario)


def test_a_released_turn_ends_with_what_it_has_also_while_nobody_is_up(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, 1, num_steps=1_000_000) as machines:
            (engine,) = machines.engines
            turn = asyncio.ensure_future(engine.generate(request()))
            await until(lambda: machines.built[0].load().kv_tokens_used > 3)
            engine.release("r")
            ended: Generation = await turn
            assert ended.finish is FinishReason.RELEASED
            assert 0 < len(ended.token_ids) <= 3
            machines.may_start.clear()
            machines.kill(0)
            waiting = asyncio.ensure_future(engine.generate(request("s")))
            await until(lambda: len(machines.remotes[0]) == 2)
            engine.release("s")
            assert (await waiting).token_ids == ()
            machines.may_start.set()

    play(scenario)


def test_an_engine_that_dies_again_and_again_is_given_up_and_says_so(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, 1, num_steps=1_000_000, most=1) as machines:
            turn = asyncio.ensure_future(machines.engines[0].generate(request()))
            for number in range(2):
                await until(lambda n=number: len(machines.built) > n and bool(machines.built[n].requests))
                machines.kill(0)
            with pytest.raises(EngineError, match="given up"):
                await turn

    play(scenario)


def test_a_release_concerns_no_turn_that_was_asked_for_later() -> None:
    async def scenario() -> None:
        actor = EngineActor()

        async def build() -> Counting:
            return Counting(lambda r: (7, 8, 1), num_steps=3)

        await actor.start(build)
        turn = asyncio.ensure_future(actor.generate(4, request()))
        await asyncio.sleep(0)
        await actor.release(3, "r")  # of an earlier turn, overtaken on its way
        assert (await turn)[0].finish is FinishReason.STOP
        await actor.release(6, "s")
        overtaken, snapshot = await actor.generate(5, request("s"))
        assert overtaken.finish is FinishReason.RELEASED
        assert snapshot.last_call == 5

    play(scenario)


def test_behind_a_dispatcher_no_rollout_is_lost_while_engines_die_in_turn(here: Here) -> None:
    async def scenario() -> None:
        async with Machines(here, num_steps=8) as machines:
            dispatcher = Dispatcher(machines.engines, max_moves=2)
            machines.fleet.on_return = dispatcher.engine_returned
            await dispatcher.adopt(channel_with(1), 1)

            async def roll(name: str) -> list[Generation]:
                made = [await dispatcher.generate(request(name, (5,) * (2 + turn))) for turn in range(3)]
                dispatcher.release(name, is_complete=True)
                return made

            async def kill() -> None:
                for number in (0, 1, 0):
                    await until(lambda n=number: has_turns(machines.engines[n]))
                    machines.kill(number)
                    replaced = machines.engines[number].num_replacements
                    await until(lambda n=number, r=replaced: machines.engines[n].num_replacements > r)

            killing = asyncio.ensure_future(kill())
            num_rollouts = 0
            while not killing.done():
                batch = await asyncio.gather(*(roll(f"{num_rollouts}/{i}") for i in range(8)))
                assert all(
                    turn.token_ids == (7, 8, 1) and turn.version == 1 for made in batch for turn in made
                )
                num_rollouts += len(batch)
            await killing
            assert sum(engine.num_replacements for engine in machines.engines) == 3

    play(scenario)
