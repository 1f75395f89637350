"""Each kind of part in real processes of a Ray cluster on this machine, killed."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import psutil
import pytest

pytest.importorskip("ray")

from rstar2.cluster.actors import Cluster
from rstar2.cluster.engine import ActorEngine
from rstar2.cluster.engine_actor import CountingEngine, EngineActor
from rstar2.cluster.fleet import Fleet
from rstar2.cluster.layout import Block, Bundle
from rstar2.cluster.learner import RayCrew
from rstar2.cluster.runtime import LOCAL, connected
from rstar2.cluster.sandbox import sandbox_nodes
from rstar2.cluster.sandbox_actor import SandboxActor
from rstar2.config import SandboxSection
from rstar2.engines.torch_engine import TorchEngine
from rstar2.errors import CheckpointError, LearnerError
from rstar2.learner.crew import RankFactory
from rstar2.models.loading import build_tiny
from rstar2.types import GenerationRequest, Program, ToolStatus

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    # Ray's own: a file of its log that nobody closes, and a warning of what will change.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]

BLOCKS = (
    Block(name="learner", strategy="PACK", bundles=(Bundle(cpus=1.0),) * 2),
    Block(name="engines", strategy="PACK", bundles=(Bundle(cpus=1.0),)),
    Block(name="sandbox", strategy="SPREAD", bundles=(Bundle(cpus=1.0),)),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(LOCAL, BLOCKS) as cluster:
        yield cluster


def processes(kind: str) -> list[psutil.Process]:
    """Ours, by their actor's class."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.name().startswith(f"ray::{kind}"[:15])]


def test_ray_listens_on_the_loopback_address_alone(cluster: Cluster) -> None:
    children = psutil.Process().children(recursive=True)
    listening = {
        connection.laddr.ip
        for child in children
        for connection in child.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert listening


def test_how_a_child_of_ours_ended_is_still_told_beside_ray(cluster: Cluster) -> None:
    assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3


def test_a_turn_whose_engine_is_killed_is_written_again_token_by_token(cluster: Cluster) -> None:
    async def slowly(is_runnable: bool) -> None:
        await asyncio.sleep(0.01)

    async def build() -> CountingEngine:
        model = build_tiny(
            vocab_size=53, hidden_size=24, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=12,
            mlp_size=31, max_positions=512, seed=0,
        )  # fmt: skip
        # Nobody draws that end: the turn is as long as it may be, and takes its time.
        return TorchEngine(model, eos_token_id=-1, kv_tokens=4096, max_running=8, pace=slowly)

    request = GenerationRequest(
        rollout_id="r", group_id="g", token_ids=(3, 5, 7), prompt_length=3, max_new_tokens=200,
        max_total_tokens=300, temperature=1.0, top_p=1.0, seed=11,
    )  # fmt: skip

    async def scenario() -> None:
        alone = await build()
        expected = await alone.generate(request)
        await alone.close()
        engine = ActorEngine(0, Fleet(1), cluster.launcher(EngineActor, "engines", 0), build)
        await engine.start()
        turn = asyncio.ensure_future(engine.generate(request))
        while not engine.load().kv_tokens_used > 20:
            assert not turn.done(), "the turn was over before the engine could be killed"
            await asyncio.sleep(0.01)
        (process,) = processes("EngineActor")
        process.send_signal(signal.SIGKILL)
        written = await turn
        assert written.token_ids == expected.token_ids
        assert engine.num_replacements == 1
        await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "hangs"])
def test_a_sandbox_server_that_is_lost_is_replaced_and_its_program_runs_again(
    cluster: Cluster, trouble: signal.Signals
) -> None:
    async def scenario() -> None:
        launches = [cluster.launcher(SandboxActor, "sandbox", 0)]
        section = SandboxSection(workers=2)
        async with sandbox_nodes(launches, section, hang_limit_s=1.0) as (sandbox, (node,)):
            slow = Program(code="import time; time.sleep(1.5); print(6 * 7)")
            running = asyncio.ensure_future(sandbox.run(slow))
            await asyncio.sleep(0.5)
            (actor,) = processes("SandboxActor")
            lost = actor.children(recursive=True)
            actor.children()[0].send_signal(trouble)
            result = await running
            assert (result.status, result.stdout) == (ToolStatus.OK, "42\n")
            assert node.num_replacements == 1
            (actor,) = processes("SandboxActor")
            servers = actor.children(recursive=True)
        _, alive = await asyncio.to_thread(psutil.wait_procs, lost + servers, 10)
        assert not alive

    asyncio.run(scenario())


def new_crew(cluster: Cluster, factory: RankFactory) -> RayCrew:
    return RayCrew(cluster, factory, 2, device_type="cpu", hang_limit_s=600)


def test_a_rank_that_hangs_ends_the_crew(cluster: Cluster) -> None:
    class Member:
        def sum_of(self, value: float) -> float:
            import torch

            mine = torch.tensor(value)
            torch.distributed.all_reduce(mine)
            return float(mine)

    with closing(new_crew(cluster, lambda rank, num_ranks: Member())) as crew:
        assert crew.call("sum_of", 1.0) == [2.0, 2.0]
        crew._hang_limit_s = 2.0  # no less from the start: ranks take longer to stand
        ranks = processes("RankActor")
        ranks[1].send_signal(signal.SIGSTOP)
        with pytest.raises(LearnerError, match=r"did not answer within learner\.hang_limit_s = 2: start"):
            crew.call("sum_of", 1.0)
        _, alive = psutil.wait_procs(ranks, 10)
        assert not alive


def test_ranks_answer_together_fail_together_and_end_together(cluster: Cluster) -> None:
    class Member:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def sum_of(self, values: list[float]) -> float:
            import torch

            mine = torch.tensor(values[self.rank])
            torch.distributed.all_reduce(mine)
            return float(mine)

        def fail(self) -> None:
            raise CheckpointError("the disk is gone")

        def die(self, rank: int) -> None:
            if self.rank == rank:
                os.kill(os.getpid(), signal.SIGKILL)
            self.sum_of([1.0, 2.0])

    crew = new_crew(cluster, lambda rank, num_ranks: Member(rank))
    assert crew.call("sum_of", [3.0, 4.0]) == [7.0, 7.0]
    with pytest.raises(CheckpointError, match="the disk is gone"):
        crew.call("fail")
    assert crew.call("sum_of", values=[3.0, 5.0]) == [8.0, 8.0], "an error that all agree on costs nothing"
    with pytest.raises(LearnerError, match="rank 1 of 2 is lost"):
        crew.call("die", 1)
    with pytest.raises(LearnerError, match="build the learner anew"):
        crew.call("sum_of", [1.0, 2.0])
    _, alive = psutil.wait_procs(processes("RankActor"), 10)
    assert not alive
    crew.close()


AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
"""Ray's own; for a minute or two they try to tell a head node that is gone that they leave."""
DRIVER = """
import asyncio
from rstar2.cluster.layout import Block, Bundle
from rstar2.cluster.runtime import LOCAL, connected

block = Block(name="sandbox", strategy="SPREAD", bundles=(Bundle(cpus=1.0),))
with connected(LOCAL, [block]) as cluster:
    from rstar2.cluster.sandbox import sandbox_nodes
    from rstar2.cluster.sandbox_actor import SandboxActor
    from rstar2.config import SandboxSection

    async def main():
        launches = [cluster.launcher(SandboxActor, "sandbox", 0)]
        async with sandbox_nodes(launches, SandboxSection(workers=1)):
            print("up", flush=True)
            await asyncio.sleep(600)

    asyncio.run(main())
"""


def test_nothing_is_left_when_the_training_process_is_killed(
    processes_with: Callable[[str], list[psutil.Process]],
) -> None:
    mark = f"RSTAR2_TEST_DRIVER={secrets.token_hex(8)}"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env=dict([*os.environ.items(), mark.split("=")]),
        stdout=subprocess.PIPE,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"up\n"
    started = processes_with(mark)
    assert any("serve" in process.cmdline() for process in started)
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(started, 20)
    assert {process.name() for process in alive} <= AGENTS
