"""Control groups outlive a pool that was killed with all its processes, and no longer than until the next."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rstar2.sandbox import WorkerPool, cgroup
from rstar2.types import Program, ToolStatus

pytestmark = pytest.mark.skipif(not cgroup.is_available(), reason="no memory control groups here")

_WAITS_TO_BE_KILLED = """
import asyncio
from rstar2.sandbox import WorkerPool

async def wait():
    async with WorkerPool(num_workers=2, libraries=()) as pool:
        print(pool._folder, flush=True)
        await asyncio.sleep(600)

asyncio.run(wait())
"""


def groups_of(folder: Path) -> list[str]:
    """In some hierarchy: there may be one for memory and one for CPU time."""
    return sorted({path.name for path in Path("/sys/fs/cgroup").glob(f"**/{folder.name}-*")})


def killed_pool() -> Path:
    """Folder of a pool that could not clean up, as its mother was killed as well."""
    with subprocess.Popen([sys.executable, "-c", _WAITS_TO_BE_KILLED], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        folder = Path(service.stdout.readline().decode().strip())
        tree = psutil.Process(service.pid).children(recursive=True)
        for process in tree:  # the mother first: she would clean up
            process.kill()
        service.kill()
    psutil.wait_procs(tree, timeout=5)
    return folder


@pytest.mark.integration
def test_a_new_pool_removes_the_groups_of_a_killed_one_and_no_others() -> None:
    async def scenario() -> None:
        async with WorkerPool(num_workers=1, libraries=()) as neighbour:
            for _ in range(10):
                folder = await asyncio.to_thread(killed_pool)
                num_abandoned, left = cgroup.num_abandoned(), groups_of(folder)
                if len(left) == 2:
                    break  # else another pool of this machine has just begun, and removes them
                shutil.rmtree(folder)
            assert left == [f"{folder.name}-0", f"{folder.name}-1"]
            assert num_abandoned >= 2
            async with WorkerPool(num_workers=1, libraries=()):
                assert groups_of(folder) == []
            assert len(groups_of(neighbour._folder)) == 1
            result = await neighbour.run(Program(code="bytearray(1 << 30)", memory_limit_mb=64))
            assert result.status is ToolStatus.MEMORY_LIMIT
        shutil.rmtree(folder)

    asyncio.run(scenario())


def test_what_calls_read_of_files_gives_later_calls_no_more_memory() -> None:
    read_libraries = (
        "import os\n"
        "num_bytes = 0\n"
        "for folder, _, names in os.walk(os.path.dirname(os.__file__)):\n"
        "    for name in names:\n"
        "        num_bytes += len(open(f'{folder}/{name}', 'rb').read())\n"
        "    if num_bytes > 30 << 20: break\n"
        "import time; time.sleep(0.2)\n"
    )

    async def scenario() -> list[int]:
        limits_bytes = []
        async with WorkerPool(num_workers=1, libraries=()) as pool:
            (name,) = groups_of(pool._folder)
            names = (f"{name}/memory.limit_in_bytes", f"{name}/memory.max")
            (file,) = (file for each in names for file in Path("/sys/fs/cgroup").glob(f"**/{each}"))
            no_limit = file.read_text()
            for limit_mb in (100, 101, 102):
                running = asyncio.create_task(
                    pool.run(Program(code=read_libraries, memory_limit_mb=limit_mb))
                )
                while file.read_text() == no_limit and not running.done():
                    await asyncio.sleep(0.01)
                limits_bytes.append(int(file.read_text()))
                await running
        return limits_bytes

    first, second, third = asyncio.run(scenario())
    assert third - second == second - first == 1 << 20


def test_a_program_that_leaves_its_memory_full_of_files_costs_itself_and_not_its_slot() -> None:
    """Names and folders are what it takes memory to delete."""
    fill = (
        "import os\n"
        "open('kept', 'w').write('text')\n"
        "for n in range(3000): open(b'\\xff' * 245 + b'%05d' % n, 'w').close()\n"
        "for n in range(900): os.mkdir('d'); os.chdir('d')\n"
        "for folder in '/dev/shm/', '':\n"
        "    for n in range(15):\n"
        "        with open(f'{folder}{n}', 'wb') as file:\n"
        "            for _ in range(64): file.write(bytes(1 << 16))\n"
    )

    async def scenario() -> None:
        async with WorkerPool(num_workers=1, libraries=()) as pool:
            result = await pool.run(Program(code=fill, memory_limit_mb=16, fetch_files=("kept",)))
            assert (result.status, result.files) == (ToolStatus.MEMORY_LIMIT, (("kept", b"text"),))
            assert (await pool.run(Program(code="6 * 7"))).value == "42"
            assert pool.num_retries == 0

    asyncio.run(scenario())


@pytest.mark.integration
@pytest.mark.skipif(cgroup._cpu_folder() is None, reason="no control groups for CPU time of version 1")
def test_a_slot_has_its_share_of_the_cpu_however_many_processes_another_one_has() -> None:
    """Each in a session of its own, as the kernel may share CPU time out by session.

    CPU time of one second beside that of 2.5: about a third, a hundredth without groups, on any busy machine.
    """
    burn = "import os\nfor _ in range(62):\n    if os.fork() == 0: os.setsid(); break\nwhile True: pass"
    count = "import time\nend_s = time.monotonic() + 1\nwhile time.monotonic() < end_s: pass"

    async def scenario() -> float:
        num_cores = os.cpu_count() or 1
        async with WorkerPool(num_workers=2 * num_cores, libraries=()) as pool:
            burning = [pool.run(Program(code=burn, time_limit_s=2.5)) for _ in range(num_cores)]
            together = asyncio.gather(*burning)
            await asyncio.sleep(1.0)
            counted = await asyncio.gather(*(pool.run(Program(code=count)) for _ in range(num_cores)))
            burned = await together
        return min(result.cpu_s for result in counted) / max(result.cpu_s for result in burned)

    assert asyncio.run(scenario()) > 0.1


@pytest.mark.skipif(cgroup._cpu_folder() is None, reason="no control groups for CPU time of version 1")
def test_a_program_that_is_not_short_gives_way_and_the_next_one_does_not() -> None:
    async def scenario() -> list[str]:
        async with WorkerPool(num_workers=1, libraries=()) as pool:
            cpu_folder = cgroup._cpu_folder()
            assert cpu_folder is not None
            share = cpu_folder / f"{pool._folder.name}-0" / "cpu.shares"
            seen = []
            for duration_s in (0.8, 0.3):
                running = asyncio.create_task(
                    pool.run(Program(code=f"import time; time.sleep({duration_s})"))
                )
                await asyncio.sleep(0.1)
                early = share.read_text().strip()
                await asyncio.sleep(0.6)
                seen += [early, share.read_text().strip()]
                await running
        return seen

    assert asyncio.run(scenario()) == ["1024", "128", "1024", "1024"]


def test_of_version_2_a_slot_gives_way_by_the_group_that_it_is_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroup, "_CGROUP_MOUNT", tmp_path)
    monkeypatch.setattr(cgroup, "_own_groups", lambda: iter([("", "ours/pool-0")]))
    assert cgroup.join_cpu_group("pool-0") is None, "the controller is not there"
    (weight := tmp_path / "ours" / "pool-0" / "cpu.weight").parent.mkdir(parents=True)
    weight.write_text("100")
    share = cgroup.join_cpu_group("pool-0")
    assert share is not None
    share.give_way()
    assert weight.read_text().startswith("12")
    share.claim()
    assert weight.read_text() == "100"
    assert cgroup.join_cpu_group("pool-1") is None, "another one's"


@contextmanager
def sweeping() -> Iterator[None]:
    """Remove groups of all pools as fast as one can, as if pools started without a pause."""
    is_over = threading.Event()

    def sweep() -> None:
        while not is_over.is_set():
            cgroup.remove_groups()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        yield
    finally:
        is_over.set()
        sweeper.join()


def test_a_slot_gets_its_group_though_others_remove_what_is_empty() -> None:
    async def scenario() -> list[ToolStatus]:
        statuses = []
        with sweeping():
            for _ in range(3):
                async with WorkerPool(num_workers=4, libraries=()) as pool:
                    assert len(groups_of(pool._folder)) == 4
                    result = await pool.run(Program(code="1 + 1"))
                    statuses.append(result.status)
        return statuses

    assert asyncio.run(scenario()) == [ToolStatus.OK] * 3


def test_a_group_that_is_removed_just_when_it_was_found_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, calls = os.mkdir, []

    def late(path: Path, mode: int) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise FileExistsError(path)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", late)
    cgroup._join(tmp_path / "group")
    assert (tmp_path / "group" / "cgroup.procs").read_text() == str(os.getpid())
