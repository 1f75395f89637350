"""The learner's ranks as Ray actors: a `Crew` that ends as a whole when one of its ranks is lost, or hangs.

Nothing is replaced here: a rank takes its shards with it, and the others wait for it in a collective. The run
builds its parts anew and goes on from its last checkpoint.
"""

import os
import socket
import tempfile
import time
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
from rstar2.learner.crew import RankFactory, lost, no_answer
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
        self,
        factory: RankFactory,
        address: str,
        rank: int,
        num_ranks: int,
        device_type: DeviceType,
        hang_limit_s: float,
    ) -> None:
        if address.startswith("file:"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        join(address, rank=rank, num_ranks=num_ranks, device_type=device_type, hang_limit_s=hang_limit_s)
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
        self,
        cluster: Cluster,
        factory: RankFactory,
        num_ranks: int,
        *,
        device_type: DeviceType,
        hang_limit_s: float,
    ) -> None:
        """`hang_limit_s` is the longest that a call may take, or the building of the ranks."""
        self._hang_limit_s = hang_limit_s
        self._ranks = [cluster.start_actor(RankActor, "learner", rank) for rank in range(num_ranks)]
        try:
            (address,) = self._values([self._ranks[0].address.remote()])
            self._values(
                [
                    actor.start.remote(factory, address, rank, num_ranks, device_type, hang_limit_s)
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
        deadline_s = time.monotonic() + self._hang_limit_s
        while pending:
            done, pending = ray.wait(pending, timeout=max(0.0, deadline_s - time.monotonic()))
            if not done:  # the others are stuck in a collective
                break
            errors |= {asked.index(answer): error for answer in done if (error := _error_of(answer))}
            if errors:
                deadline_s = min(deadline_s, time.monotonic() + _AGREEMENT_S)
        if errors:
            told = {number: error for number, error in errors.items() if isinstance(error, RayTaskError)}
            if len(told) == len(asked):
                raise told[0].cause
            number = min(errors.keys() - told.keys() or errors)  # whom it left in a collective fails as well
            what = f"learner rank {number} of {len(self._ranks)} is lost ({first_line(errors[number])})"
            self._lose(what, errors[number])
        if pending:
            self._lose(no_answer(self._hang_limit_s))
        return ray.get(list(asked))

    def _lose(self, what: str, cause: RayError | None = None) -> NoReturn:
        """End the crew."""
        self._kill()
        raise lost(what) from cause

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
