"""Ray's actors and placement groups in our words: a block is booked, an object is launched in its bundle."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rstar2.cluster.layout import Block, BlockName, Bundle
from rstar2.cluster.remote import Launch, Lost, Remote
from rstar2.errors import InfrastructureError

_BOOKING_LIMIT_S = 300.0
_MOST_CALLS = 100_000
"""Under way at one actor: every rollout of a step may have a turn there."""


class RayRemote(Remote):
    """An actor whose methods are coroutines."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def call(self, method: str, *args: object) -> Any:
        try:
            return await getattr(self._handle, method).remote(*args)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise Lost(first_line(error)) from None

    def tell(self, method: str, *args: object) -> None:
        getattr(self._handle, method).remote(*args)

    def kill(self) -> None:
        ray.kill(self._handle)


class Cluster:
    """The blocks of a run, as they were booked."""

    def __init__(self, groups: Mapping[BlockName, PlacementGroup], blocks: Sequence[Block]) -> None:
        self._groups = groups
        self._bundles = {block.name: block.bundles for block in blocks}

    @property
    def address(self) -> str:
        """Of this machine, as the others reach it."""
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return address

    def launcher(self, kind: type, block: BlockName, index: int) -> Launch:
        """Starts an object of this class, with coroutines for methods, in that bundle of the block."""
        return lambda: RayRemote(self.start_actor(kind, block, index, max_concurrency=_MOST_CALLS))

    def start_actor(self, kind: type, block: BlockName, index: int, **options: Any) -> Any:
        """Ray's handle of it. Ray restarts nothing: a new one must be told what the old one knew."""
        bundle = self._bundles[block][index]
        actor: Any = ray.remote(kind).options(
            num_cpus=bundle.cpus,
            num_gpus=bundle.accelerators,
            max_restarts=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._groups[block], index),
            **options,
        )
        return actor.remote()


def booked(blocks: Sequence[Block]) -> dict[BlockName, PlacementGroup]:
    """One placement group per block, in order; they are given back when the job ends."""
    groups = {}
    for block in blocks:
        group = placement_group([_resources(bundle) for bundle in block.bundles], strategy=block.strategy)
        if not group.wait(_BOOKING_LIMIT_S):
            free = ray.available_resources()  # type: ignore[no-untyped-call]
            raise InfrastructureError(
                f"the cluster has no room for the {block.name}: {block.cpus:g} cores and "
                f"{block.accelerators} accelerators for {len(block.bundles)} processes are wanted, "
                f"{free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free; "
                "add machines, or lower the numbers in the config"
            )
        groups[block.name] = group
    return groups


def first_line(error: Exception) -> str:
    """Ray's messages are pages; of an error that a call raised, what it was and not where."""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {first_line(error.cause)}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _resources(bundle: Bundle) -> dict[str, float]:
    return {"CPU": bundle.cpus} | ({"GPU": bundle.accelerators} if bundle.accelerators else {})
