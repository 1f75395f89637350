"""Sessions on real processes: names persist, limits hold per cell, eviction and death cost no state."""

import ast
import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox import WorkerPool, cgroup, history, interpreter, sessions
from rstar2.sandbox.history import SessionsFull
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.sessions import SessionPool
from rstar2.types import Program, ToolResult, ToolStatus

RunCell = Callable[..., ToolResult]

_LOSE_CHILDREN = (
    "import os, signal\n"
    "children = set()\n"
    "for _ in range(6):\n"
    "    if (child := os.fork()) == 0: hoard = b'x' * (40 << 20); signal.pause()\n"
    "    children.add(child)\n"
    "children.remove(os.wait()[0])\n"
    "for child in children: os.kill(child, signal.SIGKILL)\n"
    "for child in children: os.wait()\n"
)
"""To a memory limit of 64 MB, which the session itself survives."""


@pytest.fixture
def open_sessions(runner: asyncio.Runner, pool: WorkerPool) -> Iterator[Callable[..., SessionPool]]:
    """`open_sessions(**options)` gives a pool of sessions that is closed in the end."""
    opened: list[SessionPool] = []

    def open_sessions(**options: float) -> SessionPool:
        opened.append(SessionPool(pool, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_sessions
    for each in opened:
        runner.run(each.close())
        assert (each.num_live, each.num_known) == (0, 0)


@pytest.fixture
def run_cell(runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]) -> RunCell:
    """`run_cell(code, **limits)` runs the next cell of one session."""
    pool = open_sessions()

    def run_cell(code: str, **fields: object) -> ToolResult:
        return runner.run(pool.run_cell("session", Program(code=code, **fields)))  # type: ignore[arg-type]

    return run_cell


# -- cells ------------------------------------------------------------------------------------------


def test_names_persist_and_the_last_expression_is_the_value(run_cell: RunCell) -> None:
    assert run_cell("x = 20\ndef double(n): return 2 * n").value is None
    result = run_cell("print('out'); double(x) + 2")
    assert (result.status, result.value, result.stdout, result.exit_code) == (ToolStatus.OK, "42", "out\n", 0)
    assert run_cell("_ + 1").value == "43"


def test_an_exception_keeps_the_state_and_its_traceback_names_the_cells(run_cell: RunCell) -> None:
    run_cell("def divide(n):\n    return 1 / n")
    result = run_cell("y = 7\ndivide(0)")
    assert (result.status, result.exit_code) == (ToolStatus.EXCEPTION, 1)
    assert result.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<cell 2>", line 2, in <module>\n    divide(0)\n'
        '  File "<cell 1>", line 2, in divide\n    return 1 / n\n           ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )
    assert run_cell("y").value == "7"


@pytest.mark.parametrize(("code", "exit_code"), [("raise SystemExit(3)", 3), ("exit(0)", 0), ("x ==", 1)])
def test_leaving_a_cell_early_does_not_leave_the_session(
    run_cell: RunCell, code: str, exit_code: int
) -> None:
    run_cell("x = 1; import sys; exit = sys.exit")
    assert run_cell(code).exit_code == exit_code
    assert run_cell("x").value == "1"


def test_each_cell_has_its_own_stdin_output_and_value(run_cell: RunCell) -> None:
    first = run_cell("print(input()); 'value'", stdin="one\nrest\n")
    second = run_cell("import sys; print('error', file=sys.stderr); print(sys.stdin.read())", stdin="two\n")
    third = run_cell("import sys; sys.stdin.read()")
    assert (first.stdout, first.stderr, first.value) == ("one\n", "", "'value'")
    assert (second.stdout, second.stderr, second.value) == ("two\n\n", "error\n", None)
    assert (third.stdout, third.stderr, third.value) == ("", "", "''")


def test_output_of_a_thread_that_goes_on_shows_in_the_cell_that_runs_then(run_cell: RunCell) -> None:
    run_cell(
        "import threading\n"
        "go, done = threading.Event(), threading.Event()\n"
        "def work(): go.wait(); print('from the thread'); done.set()\n"
        "threading.Thread(target=work).start()\n"
    )
    assert run_cell("go.set(); done.wait(5)").stdout == "from the thread\n"


def test_files_of_cells_lie_in_one_folder(run_cell: RunCell) -> None:
    run_cell("open('b', 'w').write('from the cell')", files=(("a", b"given"),))
    result = run_cell("open('a').read()", fetch_files=("a", "b", "missing"))
    assert (result.value, result.files) == ("'given'", (("a", b"given"), ("b", b"from the cell")))


def test_too_much_output_is_cut_and_the_session_goes_on(run_cell: RunCell) -> None:
    result = run_cell("x = 5\nwhile True: print('flood' * 10_000)", time_limit_s=10.0)
    assert (result.status, result.exit_code) == (ToolStatus.OUTPUT_LIMIT, None)
    assert len(result.stdout) < 5000
    assert (after := run_cell("print('dry'); x")).value == "5"
    assert after.stdout == "dry\n"


# -- limits -----------------------------------------------------------------------------------------


def test_at_the_time_limit_a_cell_is_interrupted_and_its_state_survives(run_cell: RunCell) -> None:
    result = run_cell("n = 0\nwhile True: n += 1", time_limit_s=0.2)
    assert (result.status, result.exit_code) == (ToolStatus.TIME_LIMIT, None)
    assert 0.2 <= result.wall_s < 1.2
    assert result.stderr.endswith("KeyboardInterrupt\n")
    assert int(run_cell("n").value or 0) > 0


def test_a_cell_that_ignores_the_interrupt_costs_the_process_and_no_earlier_state(
    run_cell: RunCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "_GRACE_S", 0.2)
    run_cell("kept = 1")
    result = run_cell(
        "import signal\nkept = 2\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        time_limit_s=0.2,
    )
    assert result.status is ToolStatus.TIME_LIMIT
    assert "from before this one" in result.stderr
    assert run_cell("kept").value == "1"


def test_the_time_limit_of_a_cell_does_not_limit_the_cpu_time_of_the_session(run_cell: RunCell) -> None:
    limit = run_cell("import resource; resource.getrlimit(resource.RLIMIT_CPU)[0]", time_limit_s=2.0).value
    assert int(limit or 0) >= 3600


def test_cpu_time_is_that_of_the_cell(run_cell: RunCell) -> None:
    burn = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"
    long, short = (run_cell(burn.format(burn_s), time_limit_s=20.0).cpu_s for burn_s in (0.2, 0.02))
    assert long == pytest.approx(0.2, abs=0.05)
    assert short == pytest.approx(0.02, abs=0.015)


def test_a_fork_that_a_cell_makes_ends_with_the_cell_unless_it_lives_on_by_itself(run_cell: RunCell) -> None:
    run_cell("import os\nchild = os.fork()\nprint('child' if child == 0 else 'parent')")
    assert run_cell("os.waitpid(child, 0)[1]").value == "0"
    assert [run_cell(f"{n}").value for n in range(5)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("code", "status", "exit_code", "said"),
    [
        ("import os; os._exit(3)", ToolStatus.EXCEPTION, 3, ""),
        ("import os; os.abort()", ToolStatus.EXCEPTION, -6, "Aborted (signal 6)"),
        ("import ctypes; ctypes.string_at(0)", ToolStatus.EXCEPTION, -11, "Segmentation fault"),
    ],
)
def test_a_crash_is_the_cells_result_and_the_state_is_rebuilt_without_it(
    run_cell: RunCell, code: str, status: ToolStatus, exit_code: int, said: str
) -> None:
    run_cell("print('once'); x = [1]")
    result = run_cell(f"x.append(2); print('last words')\n{code}")
    assert (result.status, result.exit_code, result.stdout) == (status, exit_code, "last words\n")
    assert said in result.stderr
    after = run_cell("x")
    assert (after.value, after.stdout) == ("[1]", "")


def test_memory_has_a_limit(run_cell: RunCell) -> None:
    result = run_cell("x = 1\nhoard = bytearray(1 << 30)", memory_limit_mb=128)
    assert result.status is ToolStatus.MEMORY_LIMIT
    assert run_cell("x").value == "1"


@pytest.mark.skipif(not cgroup.is_available(), reason="needs a memory control group")
def test_memory_of_all_processes_of_a_session_counts_together(run_cell: RunCell) -> None:
    run_cell("x = 1", memory_limit_mb=64)
    code = (
        "import os, time\n"
        "hoard = b'x' * (50 << 20)\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0: kept = b'x' * (40 << 20); time.sleep(9)\n"
        "for _ in range(5): os.wait()\n"
    )
    assert run_cell(code, time_limit_s=9.0).status is ToolStatus.MEMORY_LIMIT
    assert run_cell("x").value == "1"


@pytest.mark.skipif(not cgroup.is_available(), reason="needs a memory control group")
def test_a_crash_is_not_blamed_on_memory_that_an_earlier_cell_ran_out_of(run_cell: RunCell) -> None:
    assert run_cell(_LOSE_CHILDREN, memory_limit_mb=64).status is ToolStatus.OK
    assert run_cell("os._exit(3)").status is ToolStatus.EXCEPTION


@pytest.mark.skipif(not cgroup.is_available(), reason="needs a memory control group")
def test_a_zygote_that_hears_of_a_cells_end_late_blames_no_crash_of_the_next_on_it(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()
    before = set(psutil.Process().children(recursive=True))
    runner.run(pool.run_cell("a", Program(code="import os, time", memory_limit_mb=64)))
    left = set(psutil.Process().children(recursive=True)) - before
    (zygote,) = {each.parent() for each in left} & left

    async def scenario() -> tuple[ToolResult, ToolResult]:
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, zygote.suspend)
        first = await pool.run_cell("a", Program(code=f"time.sleep(0.4)\n{_LOSE_CHILDREN}"))
        loop.call_later(0.2, zygote.resume)
        return first, await pool.run_cell("a", Program(code="os._exit(3)"))

    first, second = runner.run(scenario())
    assert (first.status, second.status) == (ToolStatus.OK, ToolStatus.EXCEPTION)
    assert second.exit_code == 3


def test_what_a_cell_leaves_running_stands_still_between_cells_and_dies_with_the_session(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()
    before = set(psutil.Process().children(recursive=True))
    busy = (
        "import os, threading\nif os.fork() == 0:\n    while True: pass\ndef spin():\n    while True: pass\n"
    )
    runner.run(pool.run_cell("busy", Program(code=f"{busy}threading.Thread(target=spin).start()")))
    left = set(psutil.Process().children(recursive=True)) - before
    assert len(left) == 3  # its zygote, its process, and the fork
    deadline_s = time.monotonic() + 5
    while [each.status() for each in left].count(psutil.STATUS_STOPPED) < 2:
        assert time.monotonic() < deadline_s
    runner.run(pool.end("busy"))
    assert not [each for each in left if each.is_running()]


def test_no_timer_wakes_a_session_between_its_cells(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    busy = (
        "import ctypes, signal, threading\n"
        "libc, timer = ctypes.CDLL(None), ctypes.c_void_p()\n"
        "wake = (ctypes.c_int * 16)(0, 0, int(signal.SIGCONT))\n"
        "if libc.timer_create(0, wake, ctypes.byref(timer)) == 0:\n"
        "    libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, 10**8), None)\n"
        "def spin():\n    while True: pass\n"
        "threading.Thread(target=spin).start()\n"
    )
    pool = open_sessions()
    before = set(psutil.Process().children(recursive=True))
    runner.run(pool.run_cell("busy", Program(code=busy)))
    left = set(psutil.Process().children(recursive=True)) - before
    time.sleep(0.2)
    cpu_s = [sum(each.cpu_times()[:2]) for each in left]
    time.sleep(0.2)
    assert [sum(each.cpu_times()[:2]) for each in left] == pytest.approx(cpu_s, abs=0.02)


def _left_behind(
    runner: asyncio.Runner, pool: SessionPool, code: str, num_processes: int
) -> list[psutil.Process]:
    """Processes of a session, those that its first cell starts, when another cell has just ended."""
    before = set(psutil.Process().children(recursive=True))
    runner.run(pool.run_cell("a", Program(code=f"import os, signal\n{code}")))
    left = set(psutil.Process().children(recursive=True)) - before
    zygotes = {each.parent() for each in left} & left
    assert len(left) == num_processes
    runner.run(pool.run_cell("a", Program(code="x = 1")))
    return [each for each in left if each not in zygotes or each.parent() in zygotes]


def _stand_still(processes: list[psutil.Process]) -> bool:
    """Whether all are stopped or gone, and none ran for a moment."""

    def seen() -> list[tuple[str, object]]:
        return [(each.status(), each.cpu_times()) for each in processes if each.is_running()]

    with suppress(psutil.NoSuchProcess):
        before = seen()
        time.sleep(0.1)
        return seen() == before and {state for state, _ in before} <= {"stopped", "zombie"}
    return False


def test_a_session_that_was_woken_between_its_cells_is_stopped_again(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()
    left = _left_behind(runner, pool, "if os.fork() == 0:\n    while True: pass", num_processes=3)
    deadline_s = time.monotonic() + 0.2
    while time.monotonic() < deadline_s:
        for each in left:
            each.resume()
        time.sleep(0.002)
    while not _stand_still(left):
        assert time.monotonic() < deadline_s + 5
    assert runner.run(pool.run_cell("a", Program(code="x"))).value == "1"


@pytest.mark.integration
def test_a_session_that_is_woken_whenever_it_is_stopped_ends_and_its_state_does_not(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()
    left = _left_behind(runner, pool, "if os.fork() == 0:\n    while True: pass", num_processes=3)
    deadline_s = time.monotonic() + 15
    while any(each.is_running() for each in left):
        assert time.monotonic() < deadline_s
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.resume()
        time.sleep(0.002)
    runner.run(asyncio.sleep(0.1))  # for the pool to hear of it
    assert runner.run(pool.run_cell("a", Program(code="x"))).value == "1"


@pytest.mark.integration
def test_processes_that_wake_each_other_stand_still_between_cells(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    code = "for _ in range(30):\n    if os.fork() == 0:\n        while True: os.kill(-1, signal.SIGCONT)\n"
    left = _left_behind(runner, open_sessions(), code, num_processes=32)
    deadline_s = time.monotonic() + 15
    while not _stand_still(left):
        assert time.monotonic() < deadline_s


# -- eviction ---------------------------------------------------------------------------------------


def test_random_numbers_are_the_same_after_a_rebuild_and_differ_between_sessions(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    draw = (
        "import random, numpy\nfrom sympy.core.random import rng\n"
        "x = (random.random(), float(numpy.random.rand()), rng.random())\nx"
    )

    async def drawn(session_id: str, code: str) -> tuple[float, ...]:
        result = await pool.run_cell(session_id, Program(code=code))
        numbers: tuple[float, ...] = ast.literal_eval(result.value or "")
        return numbers

    async def scenario() -> None:
        first, other = await drawn("one", draw), await drawn("other", draw)
        assert all(one != another for one, another in zip(first, other, strict=True))
        await pool.run_cell("one", Program(code="import os; os._exit(0)"))
        assert await drawn("one", "x") == first

    pool = open_sessions(max_live=2)
    runner.run(scenario())


def test_more_live_sessions_than_there_are_uids_for_are_refused_at_once(pool: WorkerPool) -> None:
    with pytest.raises(InputError, match="at most 4096"):
        SessionPool(pool, max_live=4097)


def test_more_sessions_than_live_ones_lose_no_state(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions(max_live=3)

    async def session(name: int) -> list[str | None]:
        values = []
        for n in range(4):
            code = "seen = []" if n == 0 else f"seen.append({name})\nseen"
            values.append((await pool.run_cell(f"{name}", Program(code=code))).value)
            assert pool.num_live <= 3
        return values

    async def scenario() -> list[list[str | None]]:
        return await asyncio.gather(*map(session, range(8)))

    for name, values in enumerate(runner.run(scenario())):
        assert values == [None, *(f"{[name] * n}" for n in (1, 2, 3))]


def test_an_idle_session_falls_asleep_wakes_up_with_its_state_and_is_forgotten_in_the_end(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions(idle_s=0.2, forget_s=0.6)

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not is_so():
                await asyncio.sleep(0.02)

    async def scenario() -> str | None:
        await pool.run_cell("a", Program(code="x = 1"))
        assert pool.num_live == 1
        await until(lambda: pool.num_live == 0)
        assert pool.num_known == 1
        value = (await pool.run_cell("a", Program(code="x"))).value
        await until(lambda: pool.num_known == 0)
        return value

    assert runner.run(scenario()) == "1"


def test_cells_of_a_session_run_in_order_of_arrival(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()

    async def scenario() -> list[ToolResult]:
        await pool.run_cell("a", Program(code="import time; seen = []"))
        code = "time.sleep(0.01)\nseen.append({})\nlen(seen)"
        return await asyncio.gather(*(pool.run_cell("a", Program(code=code.format(n))) for n in range(6)))

    assert [result.value for result in runner.run(scenario())] == ["1", "2", "3", "4", "5", "6"]


def test_sessions_run_side_by_side_with_programs(
    runner: asyncio.Runner, pool: WorkerPool, open_sessions: Callable[..., SessionPool]
) -> None:
    opened = open_sessions()
    sleep = Program(code="import time; start = time.monotonic(); time.sleep(0.5); start, time.monotonic()")

    async def scenario() -> list[ToolResult]:
        await asyncio.gather(*(opened.run_cell(name, Program(code="1")) for name in "ab"))
        return await asyncio.gather(opened.run_cell("a", sleep), opened.run_cell("b", sleep), pool.run(sleep))

    starts_s, ends_s = zip(
        *(ast.literal_eval(result.value or "") for result in runner.run(scenario())), strict=True
    )
    assert max(starts_s) < min(ends_s)


# -- ends -------------------------------------------------------------------------------------------


def test_a_cancelled_cell_leaves_no_trace(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()

    async def scenario() -> ToolResult:
        await pool.run_cell("a", Program(code="x = 1"))
        cell = asyncio.create_task(pool.run_cell("a", Program(code="x = 2\nwhile True: pass")))
        await asyncio.sleep(0.1)
        cell.cancel()
        return await pool.run_cell("a", Program(code="x"))

    assert runner.run(scenario()).value == "1"


def test_ending_a_session_fails_its_cells_and_the_name_is_free_again(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()

    async def scenario() -> list[object]:
        await pool.run_cell("a", Program(code="x = 1"))
        endless = Program(code="while True: pass", time_limit_s=60.0)
        cells = [asyncio.create_task(pool.run_cell("a", endless)) for _ in range(2)]
        await asyncio.sleep(0.1)
        await pool.end("a")
        await pool.end("never opened")
        fresh = await pool.run_cell("a", Program(code="'x' in globals()"))
        return [*await asyncio.gather(*cells, return_exceptions=True), fresh.value]

    started_s = time.monotonic()
    running, waiting, fresh = runner.run(scenario())
    assert isinstance(running, SandboxError)
    assert isinstance(waiting, SandboxError)
    assert fresh == "False"
    assert time.monotonic() - started_s < 5


def test_a_killed_zygote_costs_no_state(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool]
) -> None:
    pool = open_sessions()
    before = set(psutil.Process().children(recursive=True))

    async def scenario() -> ToolResult:
        await pool.run_cell("a", Program(code="x = 1"))
        (zygote,) = [
            each
            for each in set(psutil.Process().children(recursive=True)) - before
            if each.parent() in before
        ]
        cell = asyncio.create_task(
            pool.run_cell("a", Program(code="import time; time.sleep(0.2); x += 1; x"))
        )
        await asyncio.sleep(0.1)
        zygote.kill()
        return await cell

    assert runner.run(scenario()).value == "2"


def test_the_cells_to_remember_have_limits(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_LARGEST_SESSION_BYTES", 5000)
    monkeypatch.setattr(sessions, "_MOST_SESSIONS", 2)
    pool = open_sessions(max_bytes=8000)
    long = Program(code=f"'{'x' * 3000}'; 1")

    def refusal(name: str) -> str:
        with pytest.raises((InputError, SessionsFull)) as caught:
            runner.run(pool.run_cell(name, long))
        return str(caught.value)

    assert runner.run(pool.run_cell("a", long)).value == "1"
    assert "limited to" in refusal("a")
    assert runner.run(pool.run_cell("b", long)).value == "1"
    assert "sessions are open" in refusal("c")
    runner.run(pool.end("b"))
    assert runner.run(pool.run_cell("c", long)).value == "1"
    monkeypatch.setattr(sessions, "_MOST_SESSIONS", 3)
    assert "too much memory" in refusal("d")


def test_a_session_that_cannot_be_started_gives_its_place_back(
    runner: asyncio.Runner, open_sessions: Callable[..., SessionPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory_file(name: str) -> int:
        raise OSError("too many open files")

    pool = open_sessions(max_live=2)
    num_processes = len(psutil.Process().children(recursive=True))
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", no_memory_file)
        for _ in range(3):
            with pytest.raises(SandboxError, match="too many"):
                runner.run(pool.run_cell("a", Program(code="1")))
    assert (pool.num_live, len(psutil.Process().children(recursive=True))) == (0, num_processes)
    assert runner.run(pool.run_cell("a", Program(code="1"))).value == "1"


def test_sessions_leak_no_process_no_descriptor_and_no_folder(
    runner: asyncio.Runner, pool: WorkerPool, open_sessions: Callable[..., SessionPool]
) -> None:
    sessions = open_sessions(max_live=2)

    async def scenario() -> None:
        for code in ("1", "1 / 0", "import os; os._exit(1)", "import os; os.fork()"):
            await asyncio.gather(*(sessions.run_cell(name, Program(code=code)) for name in "abc"))
        await sessions.close()

    def num_left() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))

    runner.run(scenario())
    before = num_left()
    runner.run(scenario())
    assert num_left() == before
    assert sorted(os.listdir(pool._folder)) == ["0", "1"]


def test_the_open_level_has_sessions_too(runner: asyncio.Runner) -> None:
    left = "import os, time\nopen('file', 'w')\nif (pid := os.fork()) == 0: os.setsid(); time.sleep(987)\npid"
    crash = Program(code="import os; os.abort()")

    async def scenario() -> list[ToolResult]:
        async with (
            WorkerPool(num_workers=1, isolation=Isolation.NONE, libraries=()) as pool,
            SessionPool(pool, max_live=1) as opened,
        ):
            results = [await opened.run_cell("a", Program(code=left)), await opened.run_cell("a", crash)]
            await opened.end("a")
            return [*results, await opened.run_cell("b", Program(code="import os; os.listdir()"))]

    started, crashed, listed = runner.run(scenario())
    assert not psutil.pid_exists(int(started.value or ""))
    assert crashed.exit_code == -6
    assert listed.value == "[]"
