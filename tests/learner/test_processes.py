"""Ranks that are processes: how they answer, fail and end. What they compute is tested in test_fsdp."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from rstar2.errors import CheckpointError, LearnerError
from rstar2.learner.processes import ProcessCrew

pytestmark = pytest.mark.integration

SECONDS_TO_NOTICE = 60.0
"""On a machine that does much else; a few on a quiet one."""
PATIENCE_S = 600.0
"""With ranks that do not hang."""


class Member:
    """A rank that can do a few things."""

    def __init__(self, rank: int, num_ranks: int) -> None:
        self.rank, self.num_ranks = rank, num_ranks

    def sum_of(self, values: list[float]) -> float:
        """Each rank takes one."""
        mine = torch.tensor(values[self.rank])
        dist.all_reduce(mine)
        return mine.item()

    def name(self) -> tuple[int, int, int]:
        return self.rank, self.num_ranks, os.getpid()

    def fail(self, *ranks: int) -> None:
        """Those named; the others wait for them."""
        if self.rank in ranks:
            raise CheckpointError("the disk is gone")
        dist.barrier()

    def die(self, rank: int) -> None:
        if self.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()

    def take(self, data: bytes) -> int:
        return len(data)

    def stall(self, rank: int) -> None:
        if self.rank == rank:
            time.sleep(3600)
        dist.barrier()


def refuse(rank: int, num_ranks: int) -> Member:
    raise CheckpointError(f"rank {rank} finds no model")


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessCrew]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # so that ranks can import this module
    crew = ProcessCrew(Member, 2, hang_limit_s=PATIENCE_S)
    yield crew
    crew.close()


def test_every_rank_answers_and_an_error_of_all_leaves_them_at_work(crew: ProcessCrew) -> None:
    assert crew.call("sum_of", [1.0, 2.5]) == [3.5, 3.5]
    with pytest.raises(CheckpointError, match="disk is gone") as caught:
        crew.call("fail", 0, 1)
    assert "in fail" in caught.value.__notes__[0], "the rank's traceback goes along"
    ranks, numbers, pids = zip(*crew.call("name"), strict=True)
    assert (ranks, numbers) == ((0, 1), (2, 2))
    crew.close()
    assert not any(map(psutil.pid_exists, pids))
    with pytest.raises(LearnerError, match="have ended"):
        crew.call("name")


@pytest.mark.parametrize("trouble", ["dies in a collective", "was killed before", "fails alone"])
def test_a_lost_rank_ends_the_crew_and_is_named(crew: ProcessCrew, trouble: str) -> None:
    pids = [pid for _, _, pid in crew.call("name")]
    began = time.monotonic()
    if trouble == "was killed before":
        os.kill(pids[1], signal.SIGKILL)
    method = "fail" if trouble == "fails alone" else "die"
    with pytest.raises(LearnerError, match="rank 1 of 2") as caught:
        crew.call(method, 1)
    assert ("alone" if trouble == "fails alone" else "exit code -9") in str(caught.value)
    assert time.monotonic() - began < SECONDS_TO_NOTICE
    assert not any(map(psutil.pid_exists, pids))


@pytest.mark.parametrize("method", ["sum_of", "take"])
def test_a_rank_that_hangs_ends_the_crew(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """In a collective that others wait in, and before it has read what it is asked, which fills its pipe."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    with closing(ProcessCrew(Member, 2, hang_limit_s=PATIENCE_S)) as crew:
        pids = [pid for _, _, pid in crew.call("name")]
        crew._hang_limit_s = 2.0  # no less from the start: ranks take longer to stand
        os.kill(pids[1], signal.SIGSTOP)
        with pytest.raises(LearnerError, match=r"did not answer within learner\.hang_limit_s = 2: start"):
            crew.call(method, [1.0, 2.5] if method == "sum_of" else bytes(10**7))
        assert not any(map(psutil.pid_exists, pids))
        with pytest.raises(LearnerError, match="have ended"):
            crew.call("name")


def test_ranks_that_cannot_be_built_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    with pytest.raises(CheckpointError, match="rank 0 finds no model"):
        ProcessCrew(refuse, 2, hang_limit_s=PATIENCE_S)


PARENT = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from rstar2.learner.processes import ProcessCrew
from tests.learner.test_processes import Member

if __name__ == "__main__":
    crew = ProcessCrew(Member, 2, hang_limit_s=3600)
    print(*(pid for _, _, pid in crew.call("name")), flush=True)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    crew.call("stall", 1)
"""


def is_at_work(pid: int) -> bool:
    """Ended ranks may be left as zombies: whoever adopted them has other things to do."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_rank_outlives_its_parent_not_even_in_a_collective(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(root=str(Path(__file__).parents[2])))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert (len(pids), done.returncode) == (2, -signal.SIGKILL)
    deadline_s = time.monotonic() + SECONDS_TO_NOTICE
    while any(map(is_at_work, pids)):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
