"""Many servers as one sandbox: what it does when they are slow, full, broken, gone or wrong.

The servers are fakes in this process. They answer each job with the job's own code, so that a swapped answer
shows, and misbehave on command. Real ones are in `test_real_servers.py`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox.client import ClusterSandbox, outbox
from rstar2.sandbox.client.node import Timing
from rstar2.sandbox.client.vitals import Health as Vital
from rstar2.sandbox.schema import Batch, Health, IndexedOutcome, Job, Outcome
from rstar2.types import JobKind, Program, ToolResult, ToolStatus

QUICK = Timing(check_every_s=0.05, check_deadline_s=0.2, patience_s=0.4)

Jobs = Sequence[Job]
Act = Callable[["FakeServer", web.Request, Jobs], Awaitable[web.StreamResponse]]


class FakeServer:
    """Posts are answered by the acts in `script`, one after another, and well when these are used up."""

    def __init__(self, script: Sequence[Act] = (), *, num_workers: int = 4) -> None:
        self.script = list(script)
        self.num_workers = num_workers
        self.posts: list[Jobs] = []
        self.headers: list[dict[str, str]] = []
        self.num_hung_up = 0
        self.is_frozen = False
        """Answers nothing, not even for its health; connections are accepted, as of a stopped process."""
        self.is_draining = False
        self.thaw = asyncio.Event()
        self.url = ""
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def codes(self) -> list[str]:
        """Of all jobs that came, in their order."""
        return [job.code for jobs in self.posts for job in jobs]

    @property
    def keys(self) -> list[str | None]:
        return [job.key for jobs in self.posts for job in jobs]

    async def start(self) -> None:
        """Also after `stop`: at the same address then."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/stream", self._stream)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Every connection is closed."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, request: web.Request) -> web.StreamResponse:
        if self.is_frozen:
            await self.thaw.wait()
        health = Health(
            status="draining" if self.is_draining else "ok",
            version="0",
            isolation="none",
            num_workers=self.num_workers,
            queued=0,
            running=0,
            notes=[],
        )
        return web.json_response(health.model_dump(mode="json"))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        jobs = Batch.model_validate_json(await request.read()).jobs
        self.posts.append(jobs)
        self.headers.append(dict(request.headers))
        act = self.script.pop(0) if self.script else answer_all
        try:
            if self.is_frozen:
                await self.thaw.wait()
            return await act(self, request, jobs)
        except asyncio.CancelledError:
            self.num_hung_up += 1
            raise


def line(index: int, stdout: str, status: ToolStatus = ToolStatus.OK) -> bytes:
    outcome = Outcome(status=status, stdout=stdout, stderr="the node's fault" if status != "ok" else "")
    return IndexedOutcome(index=index, outcome=outcome).model_dump_json().encode() + b"\n"


async def started(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    return response


async def answer_all(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
    """The last first, so that order is never right by accident."""
    response = await started(request)
    for index in reversed(range(len(jobs))):
        await response.write(line(index, jobs[index].code))
    return response


def writes(*lines: bytes | Callable[[Jobs], bytes]) -> Act:
    """Just these, and then the end of the stream as if all were well."""

    async def act(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        response = await started(request)
        for text in lines:
            await response.write(text if isinstance(text, bytes) else text(jobs))
        return response

    return act


def echo(index: int) -> Callable[[Jobs], bytes]:
    """The right answer to one job."""
    return lambda jobs: line(index, jobs[index].code)


def refuses(status: int, **headers: str) -> Act:
    async def act(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        return web.json_response({"error": f"no, {status}"}, status=status, headers=headers)

    return act


async def hangs(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
    response = await started(request)
    await asyncio.Event().wait()
    return response


async def breaks_off(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
    """In the middle of the second line."""
    response = await started(request)
    await response.write(line(0, jobs[0].code) + line(1, "half")[:20])
    assert request.transport is not None
    request.transport.abort()
    return response


@asynccontextmanager
async def serving(*servers: FakeServer) -> AsyncIterator[list[str]]:
    """Their URLs."""
    try:
        for server in servers:
            await server.start()
        yield [server.url for server in servers]
    finally:
        for server in servers:
            with suppress(RuntimeError):
                await server.stop()


# -- the good days -----------------------------------------------------------------------------------


def run_all(*servers: FakeServer, codes: Sequence[str], timing: Timing | None = None) -> list[str]:
    """What each of these programs printed."""

    async def scenario() -> list[str]:
        async with serving(*servers) as urls, ClusterSandbox(urls, timing=timing) as sandbox:
            results = await asyncio.gather(*(sandbox.run(Program(code=code)) for code in codes))
            return [result.stdout for result in results]

    return asyncio.run(scenario())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def all_up(sandbox: ClusterSandbox) -> None:
    await until(lambda: all(node.health is Vital.UP for node in sandbox.stats().nodes))


def health_of(sandbox: ClusterSandbox, server: FakeServer) -> Vital:
    (health,) = (node.health for node in sandbox.stats().nodes if node.url == server.url)
    return health


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


def test_each_call_gets_its_own_answer() -> None:
    first, second = FakeServer(), FakeServer()
    assert run_all(first, second, codes=numbers(997)) == numbers(997)
    assert sorted(first.codes + second.codes, key=int) == numbers(997)
    assert min(len(first.codes), len(second.codes)) > 300


def test_calls_that_come_together_leave_together() -> None:
    server = FakeServer()
    run_all(server, codes=numbers(50))
    assert [len(jobs) for jobs in server.posts] == [50]


def test_posts_are_of_bounded_size_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LARGEST_POST_BYTES", 1000)
    monkeypatch.setattr(outbox, "_FEWEST_POSTS", 2)
    num_open, most_open = 0, 0

    async def answer_later(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        nonlocal num_open, most_open
        num_open += 1
        most_open = max(most_open, num_open)
        await asyncio.sleep(0.001)
        num_open -= 1
        return await answer_all(server, request, jobs)

    codes = [str(n) * 500 for n in range(9)]
    server = FakeServer([answer_later] * 20, num_workers=3)
    assert run_all(server, codes=codes) == codes
    assert max(map(len, server.posts)) == 1  # two of them are too many bytes
    assert most_open == 3  # as many as workers


def test_every_field_of_a_program_and_of_its_result_arrives() -> None:
    program = Program(
        code="x",
        stdin="y\n\u00e4",
        files=(("a/b", b"\x00\xff"),),
        fetch_files=("c",),
        kind=JobKind.VERIFICATION,
        time_limit_s=1.5,
        memory_limit_mb=99,
        output_limit_chars=7,
    )
    outcome = Outcome(
        status=ToolStatus.EXCEPTION,
        stdout="o",
        stderr="e",
        value="v",
        wall_s=2.0,
        exit_code=3,
        files={"c": b"\x01"},
    )
    server = FakeServer([writes(IndexedOutcome(index=0, outcome=outcome).model_dump_json().encode() + b"\n")])

    async def scenario() -> ToolResult:
        async with serving(server) as urls, ClusterSandbox(urls, token="secret", client="me") as sandbox:
            return await sandbox.run(program)

    assert asyncio.run(scenario()) == outcome.to_result()
    assert server.posts[0][0].to_program() == program
    assert server.headers[0]["X-Client"] == "me"
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_an_answer_of_megabytes_is_read() -> None:
    server = FakeServer([writes(line(0, "x" * 3_000_000))])
    assert run_all(server, codes=["a"]) == ["x" * 3_000_000]


# -- the bad ones ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "misdeed",
    [
        breaks_off,
        refuses(500),
        refuses(429, **{"Retry-After": "0"}),
        refuses(503, **{"Retry-After": "0"}),
        writes(),
        writes(echo(0)),
        writes(b"<html>garbage\n"),
        writes(echo(1), b'{"index": 0}\n'),
        writes(line(2, "never asked for")),
        writes(line(-1, "never asked for")),
        writes(line(0, "", ToolStatus.INFRASTRUCTURE), echo(1)),
        writes(echo(1), echo(0), line(0, "another answer"), line(1, "another answer")),
    ],
)
def test_a_server_that_fails_once_loses_no_call_and_no_answer(misdeed: Act) -> None:
    assert run_all(FakeServer([misdeed]), codes=["a", "b"]) == ["a", "b"]


def test_a_call_that_is_sent_again_keeps_its_key() -> None:
    server = FakeServer([breaks_off])
    run_all(server, codes=["a", "b"])
    (first, second), (again,) = server.posts
    assert first.key != second.key
    assert again == second


def test_a_failure_of_the_sandbox_is_tried_again_under_a_new_key() -> None:
    # Under the old key the server would answer from memory: with the failure.
    server = FakeServer([writes(line(0, "", ToolStatus.INFRASTRUCTURE))])
    assert run_all(server, codes=["a"]) == ["a"]
    assert len(set(server.keys)) == 2


def test_a_call_that_fails_everywhere_ends_with_a_reason() -> None:
    failing = [writes(line(0, "", ToolStatus.INFRASTRUCTURE))] * 9
    with pytest.raises(SandboxError, match=r"in 4 attempts; the last: the node's fault"):
        run_all(FakeServer(list(failing)), FakeServer(list(failing)), codes=["a"])


def test_a_failed_call_goes_to_another_server() -> None:
    broken, good = FakeServer([refuses(500)] * 1000), FakeServer()
    assert run_all(broken, good, codes=numbers(300)) == numbers(300)
    assert sorted(good.codes, key=int) == numbers(300)


def test_a_server_that_fails_all_at_once_does_not_draw_the_jobs_to_itself() -> None:
    async def fails_all(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        failures = [line(index, "", ToolStatus.INFRASTRUCTURE) for index in range(len(jobs))]
        return await writes(*failures)(server, request, jobs)

    broken, good = FakeServer([fails_all] * 1000), FakeServer()
    assert run_all(broken, good, codes=numbers(500)) == numbers(500)
    assert len(broken.codes) < 200


def test_one_bad_job_does_not_spoil_those_that_left_with_it() -> None:
    async def refuses_the_bad_one(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        act = refuses(422) if any(job.code == "bad" for job in jobs) else answer_all
        return await act(server, request, jobs)

    server = FakeServer([refuses_the_bad_one] * 9)

    async def scenario() -> list[ToolResult | BaseException]:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            calls = (sandbox.run(Program(code=code)) for code in ("a", "bad", "b"))
            return await asyncio.gather(*calls, return_exceptions=True)

    first, bad, last = asyncio.run(scenario())
    assert isinstance(first, ToolResult)
    assert isinstance(last, ToolResult)
    assert (first.stdout, last.stdout) == ("a", "b")
    assert isinstance(bad, InputError)
    assert "422: no, 422" in str(bad)
    assert server.codes.count("bad") == 2  # with the others, and alone


def test_a_wrong_token_is_said_at_once() -> None:
    server = FakeServer([refuses(401)])
    with pytest.raises(InputError, match="401: no, 401"):
        run_all(server, codes=["a"])
    assert len(server.posts) == 1


def test_what_is_no_job_is_not_even_sent() -> None:
    server = FakeServer()

    async def scenario() -> None:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            with pytest.raises(InputError, match="time_limit_s"):
                await sandbox.run(Program(code="a", time_limit_s=-1.0))
            with pytest.raises(InputError, match="surrogate"):
                await sandbox.run(Program(code="'\ud800'"))
            with pytest.raises(InputError, match="etc/passwd"):
                await sandbox.run(Program(code="a", fetch_files=("/etc/passwd",)))

    asyncio.run(scenario())
    assert server.posts == []


def test_a_post_of_many_megabytes_arrives_whole() -> None:
    server = FakeServer()
    codes = [f"{n}" * (1 << 20) for n in range(3)]
    assert run_all(server, codes=codes) == codes
    assert [int(headers["Content-Length"]) > 3 << 20 for headers in server.headers] == [True]


# -- servers that come, go and stand still -----------------------------------------------------------


def test_a_server_that_stands_still_loses_its_calls_to_others() -> None:
    frozen, good = FakeServer(), FakeServer()

    async def scenario() -> list[str]:
        async with serving(frozen, good) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            await all_up(sandbox)
            frozen.is_frozen = True
            results = await asyncio.gather(*(sandbox.run(Program(code=code)) for code in numbers(100)))
            assert health_of(sandbox, frozen) is Vital.DOWN
            await until(lambda: sandbox.down_s(frozen.url) > 2 * QUICK.check_deadline_s)
            assert sandbox.down_s(good.url) == 0
            frozen.is_frozen = False  # what it was sent before is dropped; it takes new work
            frozen.thaw.set()
            await all_up(sandbox)
            assert sandbox.down_s(frozen.url) == 0
            frozen.posts.clear()
            await asyncio.gather(*(sandbox.run(Program(code=code)) for code in numbers(100)))
            return [result.stdout for result in results]

    assert asyncio.run(scenario()) == numbers(100)
    assert len(frozen.codes) > 20


def test_a_server_that_says_it_is_well_but_answers_no_job_loses_them() -> None:
    stuck = FakeServer([hangs] * 2)
    program = Program(code="a", time_limit_s=0.1)

    async def scenario() -> ToolResult:
        async with serving(stuck) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            return await sandbox.run(program)

    assert asyncio.run(scenario()).stdout == "a"
    assert len(set(stuck.keys)) == 1
    assert len(stuck.keys) == 3


def test_a_server_that_restarts_is_waited_for() -> None:
    server = FakeServer([breaks_off])

    async def scenario() -> list[ToolResult]:
        async with (
            serving(server) as urls,
            ClusterSandbox(urls, timing=Timing(check_every_s=0.05)) as sandbox,
        ):
            await all_up(sandbox)
            await server.stop()
            calls = asyncio.gather(*(sandbox.run(Program(code=code)) for code in ("a", "b")))
            await asyncio.sleep(0.3)
            await server.start()
            return await calls

    assert [result.stdout for result in asyncio.run(scenario())] == ["a", "b"]


def test_without_any_server_patience_ends_and_the_reason_is_told() -> None:
    async def scenario() -> None:
        async with serving(FakeServer()) as urls:
            pass  # it has gone again
        async with ClusterSandbox(urls, timing=QUICK) as sandbox:
            with pytest.raises(SandboxError, match=r"took jobs for 0.4 s \(http://127.*cannot be reached"):
                await sandbox.run(Program(code="a"))

    asyncio.run(scenario())


def test_a_full_server_is_asked_again_until_patience_ends() -> None:
    server = FakeServer([refuses(429, **{"Retry-After": "0"})] * 1000)
    with pytest.raises(SandboxError, match=r"no server had room for 0.4 s \(.*429: no, 429\): add servers"):
        run_all(server, codes=["a"], timing=QUICK)
    assert 2 < len(server.posts) < 12


def test_a_server_that_joins_takes_its_share_at_once() -> None:
    async def answer_slowly(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return await answer_all(server, request, jobs)

    first, second = FakeServer([answer_slowly] * 99), FakeServer([answer_slowly] * 99)

    async def scenario() -> None:
        async with serving(first, second) as urls, ClusterSandbox(urls[:1], timing=QUICK) as sandbox:
            calls = asyncio.gather(*(sandbox.run(Program(code=code)) for code in numbers(500)))
            await asyncio.sleep(0.05)
            sandbox.add(urls[1])
            await calls

    asyncio.run(scenario())
    assert len(first.codes) + len(second.codes) == 500
    assert len(second.codes) > 150


def test_a_server_that_is_removed_finishes_what_it_has() -> None:
    release = asyncio.Event()

    async def waits(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        await release.wait()
        return await answer_all(server, request, jobs)

    first, second = FakeServer([waits]), FakeServer()

    async def scenario() -> list[str]:
        async with serving(first, second) as urls, ClusterSandbox(urls[:1], timing=QUICK) as sandbox:
            old = asyncio.create_task(sandbox.run(Program(code="old")))
            await until(lambda: first.posts)
            sandbox.add(urls[1])
            leaving = asyncio.create_task(sandbox.remove(urls[0]))
            await asyncio.sleep(0)
            new = await sandbox.run(Program(code="new"))
            assert not leaving.done()
            release.set()
            await leaving
            assert [node.url for node in sandbox.stats().nodes] == urls[1:]
            return [(await old).stdout, new.stdout]

    assert asyncio.run(scenario()) == ["old", "new"]
    assert (first.codes, second.codes) == (["old"], ["new"])


def test_a_removal_that_is_cancelled_moves_the_calls() -> None:
    first, second = FakeServer([hangs]), FakeServer()

    async def scenario() -> ToolResult:
        async with serving(first, second) as urls, ClusterSandbox(urls[:1], timing=QUICK) as sandbox:
            call = asyncio.create_task(sandbox.run(Program(code="a")))
            await until(lambda: first.posts)
            sandbox.add(urls[1])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await sandbox.remove(urls[0])
            return await call

    assert asyncio.run(scenario()).stdout == "a"
    assert second.codes == ["a"]


def test_a_draining_server_keeps_its_calls_and_gets_no_new_ones() -> None:
    draining, other = FakeServer(), FakeServer()

    async def scenario() -> None:
        async with serving(draining, other) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            draining.is_draining = True
            await until(lambda: health_of(sandbox, draining) is Vital.DRAINING)
            await until(lambda: health_of(sandbox, other) is Vital.UP)
            await asyncio.gather(*(sandbox.run(Program(code=code)) for code in numbers(50)))

    asyncio.run(scenario())
    assert (len(draining.codes), len(other.codes)) == (0, 50)


# -- callers that leave, and what is first -----------------------------------------------------------


def test_a_cancelled_call_hangs_up_when_it_is_alone_in_its_post() -> None:
    server = FakeServer([hangs])

    async def scenario() -> None:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            call = asyncio.create_task(sandbox.run(Program(code="a")))
            await until(lambda: server.posts)
            call.cancel()
            await until(lambda: server.num_hung_up)
            await until(lambda: not sandbox.stats().nodes[0].num_outstanding)
            assert (await sandbox.run(Program(code="b"))).stdout == "b"

    asyncio.run(scenario())
    assert server.codes == ["a", "b"]


def test_a_cancelled_call_takes_none_of_its_company_along() -> None:
    release = asyncio.Event()

    async def waits(server: FakeServer, request: web.Request, jobs: Jobs) -> web.StreamResponse:
        await release.wait()
        return await answer_all(server, request, jobs)

    server = FakeServer([waits])

    async def scenario() -> ToolResult:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            first, second = (asyncio.create_task(sandbox.run(Program(code=code))) for code in "ab")
            await until(lambda: server.posts)
            first.cancel()
            await asyncio.sleep(0)
            release.set()
            return await second

    assert asyncio.run(scenario()).stdout == "b"
    assert (server.num_hung_up, len(server.posts)) == (0, 1)


def test_a_call_that_is_cancelled_before_it_is_sent_never_is() -> None:
    server = FakeServer()

    async def scenario() -> None:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            call = asyncio.create_task(sandbox.run(Program(code="a")))
            await asyncio.sleep(0)
            call.cancel()
            await sandbox.run(Program(code="b"))

    asyncio.run(scenario())
    assert server.codes == ["b"]


def test_verifications_leave_first() -> None:
    server = FakeServer()

    async def scenario() -> None:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            tools = [sandbox.run(Program(code=code)) for code in numbers(100)]
            urgent = sandbox.run(Program(code="urgent", kind=JobKind.VERIFICATION))
            await asyncio.gather(*tools, urgent)

    asyncio.run(scenario())
    assert server.codes[0] == "urgent"


def test_closing_answers_every_call_with_an_error() -> None:
    server = FakeServer([hangs])

    async def scenario() -> list[ToolResult | BaseException]:
        async with serving(server) as urls, ClusterSandbox(urls, timing=QUICK) as sandbox:
            calls = [asyncio.create_task(sandbox.run(Program(code=code))) for code in numbers(200)]
            await until(lambda: server.posts)
            await sandbox.close()
            with pytest.raises(SandboxError, match="closed"):
                await sandbox.run(Program(code="late"))
            return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(scenario())
    assert all(isinstance(result, SandboxError) and "closed" in str(result) for result in results)


@pytest.mark.parametrize("url", ["127.0.0.1:8088", "ftp://somewhere", ""])
def test_an_address_without_its_scheme_is_refused(url: str) -> None:
    async def scenario() -> None:
        async with ClusterSandbox([url]):
            pass

    with pytest.raises(InputError, match="http://HOST:PORT"):
        asyncio.run(scenario())


def test_the_same_server_twice_is_refused_and_an_unknown_one_cannot_be_removed() -> None:
    async def scenario() -> None:
        async with ClusterSandbox(["http://127.0.0.1:9"]) as sandbox:
            with pytest.raises(InputError, match="already"):
                sandbox.add("http://127.0.0.1:9/")
            with pytest.raises(InputError, match="none of the servers"):
                await sandbox.remove("http://127.0.0.1:10")

    asyncio.run(scenario())


def test_a_server_that_is_lost_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        gone = FakeServer()
        async with serving(gone):
            pass
        async with serving(FakeServer()) as urls, ClusterSandbox([gone.url, *urls], timing=QUICK) as sandbox:
            await until(lambda: health_of(sandbox, gone) is Vital.DOWN)
            await asyncio.sleep(0.2)

    asyncio.run(scenario())
    (said,) = caplog.messages
    assert re.fullmatch(r"the sandbox server http://127.0.0.1:\d+ is down: .*cannot be reached.*", said)
