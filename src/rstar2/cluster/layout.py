"""What a run books of a cluster: one block per kind of part, one bundle per process. Pure.

Blocks are placed in this order:
    learner   packed: its ranks exchange every layer's shards, so they want the fewest machines
    engines   packed: a bundle is never cut, and engines that fill machines leave whole ones to others
    sandbox   spread: programs want cores, of which every machine has some; a lost machine costs one node
"""

from dataclasses import dataclass
from typing import Literal

from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.profiles import accelerator

BlockName = Literal["learner", "engines", "sandbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What one process books; it is always on one machine."""

    cpus: float
    accelerators: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Bundles that are placed together."""

    name: BlockName
    strategy: Literal["PACK", "SPREAD"]
    bundles: tuple[Bundle, ...]

    @property
    def cpus(self) -> float:
        return sum(bundle.cpus for bundle in self.bundles)

    @property
    def accelerators(self) -> int:
        return sum(bundle.accelerators for bundle in self.bundles)


def blocks_of(config: RunConfig) -> tuple[Block, ...]:
    """What the run books; a learner in this process, or a sandbox that is elsewhere, books nothing.

    ConfigError if the run needs what a cluster cannot give.
    """
    cluster = config.cluster
    if config.run.reproducible:
        raise ConfigError(
            "the engines of a cluster do not wait for each other's steps: set run.reproducible = false"
        )
    has_accelerators = not accelerator(cluster.accelerator).is_host
    if has_accelerators and cluster.colocated and config.learner.num_ranks:
        raise ConfigError(
            "on a cluster engines and learner have accelerators of their own: set cluster.colocated = false"
        )
    per_engine = cluster.accelerators_per_engine if has_accelerators else 0
    rank = Bundle(cpus=cluster.cpus_per_rank, accelerators=int(has_accelerators))
    engine = Bundle(cpus=cluster.cpus_per_engine, accelerators=per_engine)
    node = Bundle(cpus=cluster.cpus_per_sandbox_node)
    blocks = (
        Block(name="learner", strategy="PACK", bundles=(rank,) * config.learner.num_ranks),
        Block(name="engines", strategy="PACK", bundles=(engine,) * config.engine.num_engines),
        Block(name="sandbox", strategy="SPREAD", bundles=(node,) * cluster.sandbox_nodes),
    )
    return tuple(block for block in blocks if block.bundles)
