"""What new weights go through, as `[engine] weights` says."""

from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path

from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.ports import WeightChannel
from rstar2.weights import MemoryChannel, broadcasting, passing_through


def refuse_broadcast_within_a_process(config: RunConfig, *, on_cluster: bool) -> None:
    if config.engine.weights == "broadcast" and config.engine.kind != "vllm" and not on_cluster:
        raise ConfigError(
            'engines of this process have no use for a broadcast: set engine.weights = "folder", or '
            'engine.kind = "vllm", or give --cluster'
        )


def channel_here(config: RunConfig, folder: Path) -> AbstractContextManager[WeightChannel]:
    """To engines that this process has, or whose processes are on this machine."""
    if config.engine.weights == "broadcast":
        return broadcasting()
    return passing_through(folder / "weights") if config.learner.num_ranks else nullcontext(MemoryChannel())


def channel_on_cluster(
    config: RunConfig, folder: Path, address: str
) -> AbstractContextManager[WeightChannel]:
    """To engines that reach this machine by `address`, or see the same folders."""
    if config.engine.weights == "broadcast":
        return broadcasting(address)
    shared = config.cluster.weights_folder
    return passing_through(_own_place(Path(shared), folder) if shared else folder / "weights")


def _own_place(shared: Path, run_folder: Path) -> Path:
    """A run's own folder in one that runs share; absolute, as engines stand elsewhere.

    Versions are numbers that all runs count alike: side by side they would be taken for each other.
    """
    run = run_folder.absolute()
    return shared.absolute() / f"{run.name}-{sha256(str(run).encode()).hexdigest()[:8]}"
