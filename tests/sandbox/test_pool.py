"""The pool: limits, queue, and exactly one result per call whatever dies."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rstar2.errors import InputError, SandboxError
from rstar2.sandbox import WorkerPool, cgroup, slot
from rstar2.sandbox.jail import Isolation
from rstar2.sandbox.sessions import SessionPool
from rstar2.types import Program, ToolResult, ToolStatus

Run = Callable[..., ToolResult]


def test_more_workers_than_there_are_uids_for_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="at most 4096"):
        WorkerPool(num_workers=4097)


def test_an_endless_loop_ends_at_its_limit_with_its_output(run: Run) -> None:
    result = run("print('before')\nwhile True: pass", time_limit_s=0.3)
    assert (result.status, result.stdout, result.exit_code) == (ToolStatus.TIME_LIMIT, "before\n", None)
    assert 0.3 <= result.wall_s < 2
    assert result.cpu_s > 0.01


def test_a_sleeping_program_with_all_signals_ignored_ends_at_its_limit(run: Run) -> None:
    code = (
        "import signal, time\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "time.sleep(60)"
    )
    assert run(code, time_limit_s=0.2).status is ToolStatus.TIME_LIMIT


@pytest.mark.parametrize("code", ["x = bytearray(1 << 30)", "x = []\nwhile True: x.append('a' * 9999)"])
def test_too_much_memory_is_a_status(run: Run, code: str) -> None:
    result = run(code, memory_limit_mb=128)
    assert result.status is ToolStatus.MEMORY_LIMIT
    assert result.stderr.endswith("MemoryError\n")


@pytest.mark.skipif(not cgroup.is_available(), reason="needs a memory control group")
def test_memory_of_all_processes_counts_together(run: Run) -> None:
    code = (
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0: kept = b'x' * (20 << 20); time.sleep(9); os._exit(0)\n"
        "raise SystemExit(os.wait()[1])\n"
    )
    result = run(code, memory_limit_mb=128)
    assert (result.status, result.exit_code) == (ToolStatus.MEMORY_LIMIT, None)
    assert run("1").value == "1"


def test_a_caught_memory_error_is_no_error(run: Run) -> None:
    result = run("try: bytearray(1 << 30)\nexcept MemoryError: print('fine')", memory_limit_mb=128)
    assert (result.status, result.stdout) == (ToolStatus.OK, "fine\n")


def test_long_output_keeps_both_ends(run: Run) -> None:
    result = run("print('a' * 100 + 'b' * 100)", output_limit_chars=10)
    assert result.status is ToolStatus.OUTPUT_LIMIT
    assert result.stdout == "aaaaa\n[... cut here; 201 bytes in all ...]\nbbbb\n"


@pytest.mark.parametrize(
    ("code", "status", "value"),
    [
        ("12345678", ToolStatus.OK, "12345678"),
        ("123456789", ToolStatus.OUTPUT_LIMIT, "1234\n[... cut here; 9 bytes in all ...]\n6789"),
    ],
)
def test_a_long_value_keeps_both_ends_like_any_output(
    run: Run, code: str, status: ToolStatus, value: str
) -> None:
    result = run(code, output_limit_chars=8)
    assert (result.status, result.value) == (status, value)


def test_a_flood_of_output_is_stopped(run: Run) -> None:
    result = run("while True: print('flood' * 10000)", time_limit_s=10.0)
    assert (result.status, result.exit_code) == (ToolStatus.OUTPUT_LIMIT, None)
    assert len(result.stdout) < 5000


def test_no_descendant_outlives_its_call(run: Run) -> None:
    code = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(987)\n"
        "        time.sleep(987)\n"
    )
    before = set(psutil.Process().children(recursive=True))
    assert run(code, time_limit_s=5.0).status is ToolStatus.OK
    assert set(psutil.Process().children(recursive=True)) <= before


def test_no_signal_to_a_process_group_reaches_another_slot(pool: WorkerPool, run: Run) -> None:
    """Of processes with one uid, as at level 'user', only the group parts them: it knows no PID namespace."""
    run("1")
    mother = pool._nursery._mother
    assert mother is not None
    family = [psutil.Process(mother._process.pid)]
    family += family[0].children()
    assert len(family) == 3
    assert len({os.getpgid(process.pid) for process in family}) == 3
    assert run("import os; os.kill(0, 9)").exit_code == -9
    assert all(process.is_running() for process in family)


def test_nothing_is_left_of_an_earlier_call(run: Run) -> None:
    run("import os; open('left', 'w').close(); os.makedirs('a/b'); os.symlink('/', 'a/c'); os.chmod('a', 0)")
    assert run("import os; os.listdir()").value == "[]"
    assert run("import os; dict(os.environ)").value == "{}"


def test_calls_run_side_by_side_and_the_rest_waits(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def scenario() -> list[ToolResult]:
        program = "import time\ntime.sleep(0.2)\n{}"
        return await asyncio.gather(*(pool.run(Program(code=program.format(n))) for n in range(4)))

    started_s = time.monotonic()
    assert [result.value for result in runner.run(scenario())] == ["0", "1", "2", "3"]
    assert 0.4 <= time.monotonic() - started_s < 2


def test_many_calls_at_once_get_each_their_own_answer(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def scenario() -> list[ToolResult]:
        return await asyncio.gather(*(pool.run(Program(code=f"{n} * 2")) for n in range(60)))

    assert [result.value for result in runner.run(scenario())] == [str(2 * n) for n in range(60)]


def test_a_cancelled_call_is_stopped_and_its_slot_serves_on(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def scenario() -> list[ToolResult]:
        endless = Program(code="while True: pass", time_limit_s=60.0)
        slow = [asyncio.create_task(pool.run(endless)) for _ in range(2)]
        await asyncio.sleep(0.1)
        for task in slow:
            task.cancel()
        return await asyncio.gather(pool.run(Program(code="1")), pool.run(Program(code="2")))

    started_s = time.monotonic()
    assert [result.value for result in runner.run(scenario())] == ["1", "2"]
    assert time.monotonic() - started_s < 5


def test_cancelling_some_calls_spoils_no_other(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def scenario() -> list[ToolResult | BaseException]:
        tasks = [
            asyncio.create_task(pool.run(Program(code=f"import time\ntime.sleep({n % 3} / 100)\n{n}")))
            for n in range(30)
        ]
        for task in tasks[::2]:
            await asyncio.sleep(0.01)
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for n, outcome in enumerate(runner.run(scenario())):
        if isinstance(outcome, ToolResult):
            assert outcome.value == str(n)
        else:
            assert n % 2 == 0
            assert isinstance(outcome, asyncio.CancelledError)


def test_calls_leak_no_descriptor(pool: WorkerPool, run: Run) -> None:
    def num_fds() -> list[int]:
        return [process.num_fds() for process in (psutil.Process(), *_zygotes())]

    run("1")
    before = num_fds()
    for code in ("1", "1 / 0", "import os; os.abort()", "import os; os._exit(0)"):
        run(code)
    assert num_fds() == before


def _zygotes() -> list[psutil.Process]:
    """Children of the mother, who is our only child that runs an interpreter."""
    return [zygote for mother in psutil.Process().children() for zygote in mother.children()]


def test_a_killed_zygote_loses_no_call(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def scenario() -> list[ToolResult]:
        programs = [Program(code=f"import time\ntime.sleep(0.2)\n{n}") for n in range(4)]
        calls = [asyncio.create_task(pool.run(program)) for program in programs]
        await asyncio.sleep(0.1)
        for zygote in _zygotes():
            zygote.kill()
        return await asyncio.gather(*calls)

    assert [result.value for result in runner.run(scenario())] == ["0", "1", "2", "3"]


def test_a_zygote_that_hangs_is_taken_for_dead(
    runner: asyncio.Runner, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_PATIENCE_S", 0.3)

    async def scenario() -> ToolResult:
        call = asyncio.create_task(
            pool.run(Program(code="import time; time.sleep(0.2); 7", time_limit_s=0.5))
        )
        await asyncio.sleep(0.1)
        for zygote in _zygotes():
            zygote.suspend()
        return await call

    assert runner.run(scenario()).value == "7"


@pytest.mark.parametrize("code", ["1", "while True: pass"])
def test_a_child_that_never_began_is_tried_again_however_the_call_before_it_ended(
    runner: asyncio.Runner, code: str
) -> None:
    async def scenario() -> tuple[ToolResult, int]:
        before = set(_zygotes())
        async with WorkerPool(num_workers=1, libraries=()) as pool:
            await pool.run(Program(code=code, time_limit_s=0.2))
            (zygote,) = set(_zygotes()) - before
            too_few = (64, 64)  # for a child to put its descriptors in order, before its program begins
            zygote.rlimit(psutil.RLIMIT_NOFILE, too_few)
            return await pool.run(Program(code="6 * 7")), pool.num_retries

    result, num_retries = runner.run(scenario())
    assert (result.value, num_retries) == ("42", 1)


def test_a_call_whose_zygotes_keep_dying_raises(runner: asyncio.Runner, pool: WorkerPool) -> None:
    async def killer() -> None:
        while True:
            await asyncio.sleep(0.05)
            for zygote in _zygotes():
                zygote.kill()

    async def scenario() -> None:
        killing = asyncio.create_task(killer())
        try:
            with pytest.raises(SandboxError, match="died"):
                await pool.run(Program(code="import time; time.sleep(3)"))
        finally:
            killing.cancel()

    runner.run(scenario())


def test_a_killed_mother_is_replaced(runner: asyncio.Runner) -> None:
    async def scenario() -> list[ToolResult]:
        others = set(psutil.Process().children())
        async with WorkerPool(num_workers=2, libraries=()) as pool:
            for mother in set(psutil.Process().children()) - others:
                for zygote in mother.children():
                    zygote.kill()
                mother.kill()
            return await asyncio.gather(*(pool.run(Program(code=f"{n}")) for n in range(4)))

    assert [result.value for result in runner.run(scenario())] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("num_kills", [1, 2])
def test_a_mother_that_dies_before_she_is_ready_gets_a_second_chance(
    runner: asyncio.Runner, num_kills: int
) -> None:
    async def kill_mothers(others: set[psutil.Process]) -> None:
        for _ in range(num_kills):
            while not (mothers := set(psutil.Process().children()) - others):
                await asyncio.sleep(0.001)
            for mother in mothers:
                mother.kill()
            others |= mothers

    async def scenario() -> ToolResult:
        killing = asyncio.create_task(kill_mothers(set(psutil.Process().children())))
        async with WorkerPool(num_workers=1, libraries=("numpy",)) as pool:
            await killing
            return await pool.run(Program(code="6 * 7"))

    if num_kills == 1:
        assert runner.run(scenario()).value == "42"
    else:
        with pytest.raises(SandboxError, match="could not import its libraries"):
            runner.run(scenario())


def test_a_pool_has_no_folder_before_it_is_opened_nor_after(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        pool = WorkerPool(num_workers=1, libraries=())
        assert not pool._folder.exists()
        async with pool, SessionPool(pool) as sessions:
            assert pool._folder.stat().st_mode & 0o777 == 0o700
            await pool.close()
            with pytest.raises(SandboxError, match="closed"):
                await sessions.run_cell("a", Program(code="1"))
        assert not pool._folder.exists()

    runner.run(scenario())


def test_closing_ends_everything_and_refuses_the_rest(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        before = set(psutil.Process().children(recursive=True))
        num_fds = len(os.listdir("/proc/self/fd"))
        async with WorkerPool(num_workers=1, libraries=()) as pool:
            calls = [asyncio.create_task(pool.run(Program(code="while True: pass"))) for _ in range(3)]
            await asyncio.sleep(0.1)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, SandboxError)
        assert set(psutil.Process().children(recursive=True)) == before
        assert len(os.listdir("/proc/self/fd")) == num_fds

    runner.run(scenario())


def test_the_open_level_still_limits_kills_and_cleans(runner: asyncio.Runner) -> None:
    daemon = (
        "import os, time\nopen('left', 'w')\nif (pid := os.fork()) == 0: os.setsid(); time.sleep(987)\npid"
    )
    programs = [
        Program(code=daemon),
        Program(code="import os; os.listdir()"),
        Program(code="while True: pass", time_limit_s=0.2),
        Program(code="bytearray(1 << 30)", memory_limit_mb=64),
    ]

    async def scenario() -> list[ToolResult]:
        async with WorkerPool(num_workers=1, isolation=Isolation.NONE, libraries=()) as pool:
            return [await pool.run(program) for program in programs]

    started, listed, endless, greedy = runner.run(scenario())
    assert not psutil.pid_exists(int(started.value or ""))
    assert listed.value == "[]"
    assert endless.status is ToolStatus.TIME_LIMIT
    assert greedy.status is ToolStatus.MEMORY_LIMIT


_SERVES_UNTIL_KILLED = """
import asyncio
from rstar2.sandbox import WorkerPool
from rstar2.types import Program

async def serve():
    async with WorkerPool(num_workers=2, libraries=()) as pool:
        code = "import os\\nos.fork()\\nwhile True: pass"
        call = asyncio.create_task(pool.run(Program(code=code, time_limit_s=600.0)))
        await asyncio.sleep(0.3)
        print(pool._folder, flush=True)
        await call

asyncio.run(serve())
"""


@pytest.mark.integration
def test_when_the_pools_process_is_killed_nothing_of_it_stays() -> None:
    with subprocess.Popen([sys.executable, "-c", _SERVES_UNTIL_KILLED], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        folder = Path(service.stdout.readline().decode().strip())
        assert folder.exists()
        tree = psutil.Process(service.pid).children(recursive=True)
        service.kill()
    assert len(tree) >= 4
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert alive == []
    assert not folder.exists()
    groups = Path("/sys/fs/cgroup").glob(f"**/{folder.name}-*")
    assert list(groups) == []
