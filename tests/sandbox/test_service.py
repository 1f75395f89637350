"""The service before a scripted sandbox: each call is served once to each that waits, whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rstar2.errors import SandboxError
from rstar2.sandbox.fair_queue import QueueFull
from rstar2.sandbox.flight import Flight
from rstar2.sandbox.service import Draining, Served, Service
from rstar2.types import JobKind, Program, ToolResult, ToolStatus


class Script:
    """A sandbox whose programs end when told to."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self._ends: dict[str, asyncio.Future[ToolResult]] = {}

    async def run(self, program: Program) -> ToolResult:
        self.started.append(program.code)
        self._ends[program.code] = asyncio.get_running_loop().create_future()
        try:
            return await self._ends[program.code]
        except asyncio.CancelledError:
            self.stopped.append(program.code)
            raise

    async def close(self) -> None: ...

    async def end(self, code: str, outcome: ToolResult | Exception | None = None) -> None:
        """The program ends, by default well; returns when everybody has heard of it."""
        if isinstance(outcome, Exception):
            self._ends[code].set_exception(outcome)
        else:
            self._ends[code].set_result(outcome or ok(code))
        await settled()


def ok(text: str) -> ToolResult:
    return ToolResult(status=ToolStatus.OK, stdout=text, cpu_s=0.25)


async def settled() -> None:
    """Whatever can happen now has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


Scenario = Callable[[Script, Service], Awaitable[None]]


def play(scenario: Scenario, *, num_workers: int = 1, max_queued: int = 100) -> None:
    async def main() -> None:
        script = Script()
        await scenario(script, Service(script, num_workers=num_workers, max_queued=max_queued))

    asyncio.run(main())


def post(service: Service, code: str, **options: str) -> asyncio.Task[Served]:
    return asyncio.create_task(service.run(Program(code=code), **options))


def test_as_many_run_as_there_are_workers_and_the_rest_waits():
    async def scenario(script: Script, service: Service) -> None:
        posts = [post(service, code) for code in "abc"]
        await settled()
        assert (script.started, service.num_running, service.num_queued()) == (["a", "b"], 2, 1)
        for code in "bac":
            await script.end(code)
        assert [(await p).result.stdout for p in posts] == ["a", "b", "c"]
        assert (service.num_running, service.num_queued()) == (0, 0)

    play(scenario, num_workers=2)


def test_clients_take_turns():
    async def scenario(script: Script, service: Service) -> None:
        posts = [post(service, code, client="herd") for code in "abcd"]
        await settled()
        posts.append(post(service, "x", client="loner"))
        await settled()
        for code in "abxcd":  # `b` was next in turn when `x` came
            await script.end(code)
        assert script.started == [*"abxcd"]
        await asyncio.gather(*posts)

    play(scenario)


def test_a_caller_who_leaves_takes_a_waiting_call_out_of_the_queue():
    async def scenario(script: Script, service: Service) -> None:
        first, second = post(service, "a"), post(service, "b")
        await settled()
        second.cancel()
        await settled()
        assert service.num_queued() == 0
        await script.end("a")
        assert (script.started, service.tally.num_abandoned) == (["a"], 1)
        assert (await first).result.status is ToolStatus.OK

    play(scenario)


def test_calls_of_a_chain_run_one_after_another_and_hold_one_worker():
    async def scenario(script: Script, service: Service) -> None:
        calls = [post(service, code, chain="s") for code in "abcd"]
        other = post(service, "x", chain="t")
        await settled()
        assert (script.started, service.num_queued()) == (["a", "x"], 3)
        calls[1].cancel()
        calls[0].cancel()
        await settled()
        assert (script.stopped, script.started) == (["a"], ["a", "x", "c"])
        await script.end("c")
        drained = asyncio.create_task(service.drain())
        await script.end("x")
        assert not drained.done()
        await script.end("d")
        assert [(await call).result.stdout for call in (*calls[2:], other)] == ["c", "d", "x"]
        await drained

    play(scenario, num_workers=2)


def test_a_caller_who_leaves_stops_a_running_call_and_frees_its_worker():
    async def scenario(script: Script, service: Service) -> None:
        first, second = post(service, "a"), post(service, "b")
        await settled()
        first.cancel()
        await settled()
        assert (script.stopped, script.started) == (["a"], ["a", "b"])
        await script.end("b")
        assert (await second).result.stdout == "b"

    play(scenario)


def test_a_call_that_is_left_before_it_began_frees_its_worker():
    async def scenario(script: Script, service: Service) -> None:
        call = service.submit(Program(code="a"), print)
        service.abandon(call, print)
        await settled()
        assert (script.started, service.num_running) == ([], 0)

    play(scenario)


@pytest.mark.parametrize("error", [SandboxError("a worker died"), OSError("no descriptors")])
def test_a_failure_of_the_sandbox_is_an_outcome_and_the_next_call_runs(error, caplog):
    async def scenario(script: Script, service: Service) -> None:
        posts = [post(service, code) for code in "ab"]
        await settled()
        await script.end("a", error)
        failure = (await posts[0]).result
        assert failure.status is ToolStatus.INFRASTRUCTURE
        assert ("a worker died" in failure.stderr) == isinstance(error, SandboxError)
        await script.end("b")
        assert (await posts[1]).result.status is ToolStatus.OK

    play(scenario)
    assert ("no descriptors" in caplog.text) == isinstance(error, OSError)


# -- idempotency keys ------------------------------------------------------------------------------


def test_a_key_that_is_known_is_not_run_again_while_running_nor_after():
    async def scenario(script: Script, service: Service) -> None:
        posts = [post(service, "a", key="k") for _ in range(2)]
        await settled()
        await script.end("a")
        posts.append(post(service, "a", key="k"))
        assert [(await p).result.stdout for p in posts] == ["a"] * 3
        assert (script.started, service.tally.num_repeated) == (["a"], 2)
        assert service.tally.statuses[ToolStatus.OK] == 1

    play(scenario)


def test_a_key_is_one_clients_and_one_programs():
    async def scenario(script: Script, service: Service) -> None:
        posts = [
            post(service, "a", key="k", client="one"),
            post(service, "b", key="k", client="one"),
            post(service, "c", key="k", client="two"),
        ]
        await settled()
        for code in "abc":
            await script.end(code)
        assert [(await p).result.stdout for p in posts] == [*"abc"]

    play(scenario, num_workers=3)


def test_a_call_goes_on_while_anybody_waits_for_it():
    async def scenario(script: Script, service: Service) -> None:
        impatient, patient = post(service, "a", key="k"), post(service, "a", key="k")
        await settled()
        impatient.cancel()
        await settled()
        assert script.stopped == []
        await script.end("a")
        assert (await patient).result.stdout == "a"

    play(scenario)


def test_a_key_whose_call_was_stopped_runs_again():
    async def scenario(script: Script, service: Service) -> None:
        post(service, "a", key="k").cancel()
        gone = post(service, "a", key="k")
        await settled()
        gone.cancel()
        again = post(service, "a", key="k")
        await settled()
        await script.end("a")
        assert (await again).result.stdout == "a"
        assert (script.started, script.stopped) == (["a", "a"], ["a"])

    play(scenario)


def test_a_failure_of_the_sandbox_is_not_remembered():
    async def scenario(script: Script, service: Service) -> None:
        first = post(service, "a", key="k")
        await settled()
        await script.end("a", SandboxError("a worker died"))
        again = post(service, "a", key="k")
        await settled()
        await script.end("a")
        assert [(await p).result.status for p in (first, again)] == [
            ToolStatus.INFRASTRUCTURE,
            ToolStatus.OK,
        ]

    play(scenario)


# -- bounds, draining, counters --------------------------------------------------------------------


def test_beyond_the_bound_calls_are_refused():
    async def scenario(script: Script, service: Service) -> None:
        for code in "abcd":
            service.submit(Program(code=code), print)
        with pytest.raises(QueueFull):
            await service.run(Program(code="e"))
        assert (service.num_queued(), service.tally.num_refused) == (3, 1)
        service.submit(Program(code="e"), print, client="another")

    play(scenario, max_queued=4)


def test_draining_finishes_what_was_accepted_and_takes_nothing_more():
    async def scenario(script: Script, service: Service) -> None:
        posts = [post(service, code) for code in "ab"]
        await settled()
        drained = asyncio.create_task(service.drain())
        await settled()
        with pytest.raises(Draining):
            await service.run(Program(code="c"))
        await script.end("a")
        assert not drained.done()
        await script.end("b")
        await drained
        assert [(await p).result.stdout for p in posts] == ["a", "b"]

    play(scenario)


def test_draining_ends_when_the_last_waiting_call_is_taken_back():
    async def scenario(script: Script, service: Service) -> None:
        first = post(service, "a")
        await settled()
        drained = asyncio.create_task(service.drain())
        first.cancel()
        await asyncio.wait_for(drained, 1)

    play(scenario)


def test_of_a_series_that_was_accepted_no_call_is_refused():
    async def scenario(script: Script, service: Service) -> None:
        async def one_after_the_other() -> list[str]:
            with service.series("c"):
                calls = [service.run(Program(code=code), client="c", is_accepted=True) for code in "ab"]
                return [(await call).result.stdout for call in calls]

        series = asyncio.create_task(one_after_the_other())
        await settled()
        waiting = post(service, "x")  # as many as may wait
        drained = asyncio.create_task(service.drain())
        await settled()
        with pytest.raises(Draining), service.series("c"):
            pass
        for code in "axb":
            assert not drained.done()
            await script.end(code)
        assert await series == ["a", "b"]
        await waiting
        await asyncio.wait_for(drained, 1)

    play(scenario, max_queued=1)


def test_an_idle_service_is_drained_at_once():
    async def scenario(script: Script, service: Service) -> None:
        await asyncio.wait_for(service.drain(), 1)

    play(scenario)


def test_the_tally_counts_what_was_served_by_kind_and_status():
    async def scenario(script: Script, service: Service) -> None:
        post(service, "a")
        check = asyncio.create_task(service.run(Program(code="b", kind=JobKind.VERIFICATION)))
        await settled()
        assert [service.num_queued(kind) for kind in JobKind] == [0, 1]
        await script.end("a", ToolResult(status=ToolStatus.EXCEPTION, cpu_s=0.5))
        await script.end("b")
        await check
        tally = service.tally
        assert tally.statuses == {ToolStatus.EXCEPTION: 1, ToolStatus.OK: 1}
        assert tally.cpu_s == 0.75
        assert [sum(tally.latencies[kind].counts) for kind in JobKind] == [1, 1]

    play(scenario)


def test_a_call_tells_how_long_it_waited():
    async def main() -> None:
        now_s = 100.0
        script = Script()
        service = Service(script, num_workers=1, clock=lambda: now_s)
        first, second = post(service, "a"), post(service, "b")
        await settled()
        now_s = 107.0
        await script.end("a")
        now_s = 108.0
        await script.end("b")
        assert [(await p).queue_s for p in (first, second)] == [0.0, 7.0]
        assert service.tally.latencies[JobKind.TOOL].sum_s == 15.0

    asyncio.run(main())


# -- flights ---------------------------------------------------------------------------------------


def jobs(codes: str) -> list[tuple[Program, str | None]]:
    return [(Program(code=code), None) for code in codes]


def test_a_flight_tells_what_ended_together():
    async def scenario(script: Script, service: Service) -> None:
        async with Flight(service, jobs("abc")) as flight:
            news = aiter(flight)
            await settled()
            await script.end("c")
            await script.end("a")
            assert [(n, served.result.stdout) for n, served in await anext(news)] == [(2, "c"), (0, "a")]
            await script.end("b")
            assert [n for n, _ in await anext(news)] == [1]
            with pytest.raises(StopAsyncIteration):
                await anext(news)

    play(scenario, num_workers=3)


def test_a_large_flight_lets_others_take_their_turn_and_loses_nothing():
    async def scenario(script: Script, service: Service) -> None:
        async def instantly(program: Program) -> ToolResult:
            return ok(program.code)

        script.run = instantly  # type: ignore[method-assign]
        many = [(Program(code=str(n)), None) for n in range(1200)]
        async with Flight(service, many) as flight:
            served = [pair async for ended in flight for pair in ended]
        assert sorted((n, s.result.stdout) for n, s in served) == sorted((n, str(n)) for n in range(1200))

    play(scenario, num_workers=7, max_queued=2000)


def test_a_flight_that_is_left_early_takes_its_calls_back():
    async def scenario(script: Script, service: Service) -> None:
        async with Flight(service, jobs("abc")):
            await settled()
        await settled()
        assert (script.started, script.stopped, service.num_queued()) == (["a"], ["a"], 0)

    play(scenario)


def test_a_flight_that_does_not_fit_leaves_nothing_behind():
    async def scenario(script: Script, service: Service) -> None:
        with pytest.raises(QueueFull):
            async with Flight(service, jobs("abcd")):
                pass
        assert (script.started, service.num_queued()) == ([], 0)

    play(scenario, max_queued=4)


def test_what_waits_too_long_is_given_up_and_what_runs_goes_on():
    async def scenario(script: Script, service: Service) -> None:
        async with Flight(service, jobs("ab"), queue_limit_s=0.01) as flight:
            news = aiter(flight)
            ((index, given_up),) = await anext(news)
            assert (index, given_up.has_run, given_up.result.status) == (
                1,
                False,
                ToolStatus.INFRASTRUCTURE,
            )
            await script.end("a")
            ((index, served),) = await anext(news)
            assert (index, served.has_run) == (0, True)
        assert script.started == ["a"]

    play(scenario)
