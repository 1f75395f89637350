"""What new weights go through, as `[engine] weights` says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.ports import WeightChannel
from rstar2.weights import FolderChannel, MemoryChannel, broadcasting


def refuse_broadcast_within_a_process(config: RunConfig, *, on_cluster: bool) -> None:
    if config.engine.weights == "broadcast" and config.engine.kind != "vllm" and not on_cluster:
        raise ConfigError(
            'engines of this process have no use for a broadcast: set engine.weights = "folder", or '
            'engine.kind = "vllm", or give --cluster'
        )


@contextmanager
def channel_here(config: RunConfig, folder: Path) -> Iterator[WeightChannel]:
    """To engines that this process has, or whose processes are on this machine."""
    if config.engine.weights == "broadcast":
        with broadcasting() as channel:
            yield channel
    else:
        yield FolderChannel(folder / "weights") if config.learner.num_ranks else MemoryChannel()


@contextmanager
def channel_on_cluster(config: RunConfig, folder: Path, address: str) -> Iterator[WeightChannel]:
    """To engines that reach this machine by `address`, or see the same folders."""
    if config.engine.weights == "broadcast":
        with broadcasting(address) as channel:
            yield channel
    else:
        yield FolderChannel(Path(config.cluster.weights_folder or folder / "weights"))
