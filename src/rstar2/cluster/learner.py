"""The learner's ranks as Ray actors: a `Crew` that ends as a whole when one of its ranks is lost.

Nothing is replaced here: a rank takes its shards with it, and the others wait for it in a collective. The run
builds its parts anew and goes on from its last checkpoint.
"""

import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from torch import distributed

from rstar2.cluster.actors import Cluster, first_line
from rstar2.cluster.runtime import LOOPBACK
from rstar2.errors import LearnerError
from rstar2.learner.crew import RankFactory
from rstar2.learner.rendezvous import DeviceType, join

_AGREEMENT_S = 5.0
"""After one rank's failure, how long others have to fail alike."""
_LEAVE_S = 10.0


class RankActor:
    """What lives in the process of a rank."""

    def __init__(self) -> None:
        self._target: object = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def address(self) -> str:
        """Where the others can meet this one; on a cluster of one machine nobody else can."""
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if host == LOOPBACK:
            self._folder = tempfile.TemporaryDirectory(prefix="rstar2-ranks-")
            return (Path(self._folder.name) / "store").as_uri()
        with socket.socket() as probe:
            probe.bind((host, 0))
            return f"tcp://{host}:{probe.getsockname()[1]}"

    def start(
        self, factory: RankFactory, address: str, rank: int, num_ranks: int, device_type: DeviceType
    ) -> None:
        if address.startswith("file:"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        join(address, rank=rank, num_ranks=num_ranks, device_type=device_type)
        self._target = factory(rank, num_ranks)

    def call(self, request: tuple[str, tuple[object, ...], dict[str, object]]) -> Any:
        method, args, kwargs = request
        return getattr(self._target, method)(*args, **kwargs)

    def close(self) -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        if self._folder is not None:
            self._folder.cleanup()


class RayCrew:
    """Implements `Crew` in the cluster's learner block; built when all ranks stand."""

    def __init__(
        self, cluster: Cluster, factory: RankFactory, num_ranks: int, *, device_type: DeviceType
    ) -> None:
        self._ranks = [cluster.start_actor(RankActor, "learner", rank) for rank in range(num_ranks)]
        try:
            (address,) = self._values([self._ranks[0].address.remote()])
            self._values(
                [
                    actor.start.remote(factory, address, rank, num_ranks, device_type)
                    for rank, actor in enumerate(self._ranks)
                ]
            )
        except BaseException:
            self._kill()
            raise

    def call(self, method: str, *args: object, **kwargs: object) -> list[Any]:
        if not self._ranks:
            raise LearnerError("the learner's ranks have ended: build the learner anew")
        request = ray.put((method, args, kwargs))  # once, however many ranks
        return self._values([actor.call.remote(request) for actor in self._ranks])

    def close(self) -> None:
        with suppress(RayError, GetTimeoutError):
            ray.get([actor.close.remote() for actor in self._ranks], timeout=_LEAVE_S)
        self._kill()

    def _values(self, asked: Sequence["ray.ObjectRef[Any]"]) -> list[Any]:
        """What each answers; an error if all agree on one, else the crew is lost."""
        pending, errors = list(asked), dict[int, RayError]()
        while pending:
            done, pending = ray.wait(pending, timeout=_AGREEMENT_S if errors else None)
            if not done:  # the others are stuck in a collective
                break
            errors |= {asked.index(answer): error for answer in done if (error := _error_of(answer))}
        if errors:
            told = {number: error for number, error in errors.items() if isinstance(error, RayTaskError)}
            if len(told) == len(asked):
                raise told[0].cause
            number = min(errors.keys() - told.keys() or errors)  # whom it left in a collective fails as well
            self._lose(number, errors[number])
        return ray.get(list(asked))

    def _lose(self, number: int, error: RayError) -> NoReturn:
        """End the crew because of this rank, which failed alone or is gone."""
        num_ranks = len(self._ranks)
        self._kill()
        raise LearnerError(
            f"learner rank {number} of {num_ranks} is lost ({first_line(error)}): "
            "start the run again, it goes on from its last checkpoint"
        ) from error

    def _kill(self) -> None:
        for actor in self._ranks:
            ray.kill(actor)
        self._ranks = []


def _error_of(answer: "ray.ObjectRef[Any]") -> RayError | None:
    try:
        ray.get(answer)
    except RayError as error:
        return error
    return None
