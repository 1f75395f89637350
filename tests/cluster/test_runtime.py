import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rstar2.cluster.runtime import connected
from rstar2.errors import ConfigError


def test_an_address_where_nobody_listens_is_refused_at_once_with_the_remedy() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with (
            pytest.raises(ConfigError, match=f"nobody answers at {address}.*ray start --head"),
            connected(address, ()),
        ):
            pass


@pytest.mark.parametrize("address", ["here", "10.0.0.1", ":6379", "10.0.0.1:ray"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"), connected(address, ()):
        pass


DRIVER = """
import sys
from pathlib import Path
import torch
from rstar2.assemble.channel import channel_on_cluster
from rstar2.cluster.layout import Block, Bundle
from rstar2.cluster.runtime import connected
from rstar2.config import parse_config
from rstar2.errors import ConfigError

class Rank:
    def publish(self, channel):
        channel.put(1, {"w": torch.ones(2)})

block = Block(name="learner", strategy="PACK", bundles=(Bundle(cpus=1.0),))
config = parse_config({"cluster": {"weights_folder": "shared"}})
try:
    with connected(sys.argv[1], [block]) as cluster:
        import ray
        with channel_on_cluster(config, Path("run"), cluster.address) as channel:
            ray.get(cluster.start_actor(Rank, "learner", 0).publish.remote(channel))
            print("joined:", channel.get(1)["w"].tolist())
except ConfigError as error:
    print("refused:", error)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    address: str
    environment: dict[str, str]
    """With the home in which the token is."""

    def join(self, folder: Path, **variables: str) -> str:
        """What a training process says that stands in this folder and has these variables as well."""
        return subprocess.run(
            [sys.executable, "-c", DRIVER, self.address],
            cwd=folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


@pytest.fixture
def head() -> Iterator[Head]:
    """`ray start` on this machine by somebody who has a token, as whoever has used Ray before."""
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="rstar2-ray-", dir="/tmp") as home:  # short: for names of sockets
        (Path(home) / ".ray").mkdir()
        (Path(home) / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment = inherited | {"HOME": home, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        port, client_port = free_ports(2)
        options = (
            *("--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=1"),
            *(f"--ray-client-server-port={client_port}", "--dashboard-agent-listen-port=0"),
            *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={home}/ray"),
        )
        log = Path(home) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", *options],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            while "Ray runtime started" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield Head(address=f"127.0.0.1:{port}", environment=environment)
        finally:
            process.terminate()
            process.wait(60)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_cluster_of_ray_start_is_joined_with_its_token_and_the_remedy_is_told_without(
    head: Head, tmp_path: Path
) -> None:
    refusal = head.join(tmp_path)
    assert refusal.startswith(f"refused: no Ray cluster can be joined at '{head.address}'")
    assert "set RAY_AUTH_MODE=token here too" in refusal
    unknown = head.join(tmp_path, RAY_AUTH_MODE="token", HOME=str(tmp_path))
    assert "no authentication token was found" in unknown
    assert "copy ~/.ray/auth_token" in unknown
    assert head.join(tmp_path, RAY_AUTH_MODE="token") == "joined: [1.0, 1.0]\n", "and actors stand elsewhere"
