"""Weights by a collective among the learner and the engines that are there: nothing goes by disk.

    learner   put: a copy in host memory, and a thread that serves it
    engine    ticket -> seat in a round -> buckets -> checksum
    round     all whose tickets come without a pause of `quiet_s`: one process group, then it is gone

Nobody waits for an engine: `put` returns when the copy is made, and the last `keep` versions are served, to
one late engine as to all at once. A member that is lost breaks its round; within `limit_s` the others know,
and meet in the next one. Tickets and seats go through a store in the process that opened the channel: whoever
reaches its port can send weights.

It costs `keep` copies of the weights in the host memory of the learner's first rank, one bucket in every
engine, and `quiet_s` per round. Weights travel in the learner's precision.

NCCL is taken where every member has a GPU of its own; gloo, through host memory, where one has none or two
share one.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from rstar2.errors import CheckpointError, EngineError
from rstar2.weights.board import Board, Offer, serving
from rstar2.weights.buckets import Fold, Manifest, checksum, fold, layouts_of, packed, unpacked
from rstar2.weights.groups import HOST_MEMORY, Group, GroupBroken, gpu_of, joined
from rstar2.weights.sender import Sender

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_MOST_ROUNDS = 3
"""That may break off under a receiver, before it gives up."""
_PATIENCE_LIMITS = 20
"""For a seat, in `limit_s`: a round that is under way ends first."""
_LOOK_EVERY_S = 0.01
_LEAVE_S = 1.0
"""For senders to hear that the channel closes; one whose process is gone does not."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastChannel:
    """Where the sides meet; may be sent to other processes and used there. `broadcasting` opens one."""

    host: str
    port: int
    keep: int = 2
    """Versions that are served: a replacement may come for the last one while the next is put."""
    bucket_bytes: int = 2**28
    """Broadcast at a time; a larger tensor goes alone."""
    limit_s: float = 30.0
    """For all to connect, and for one bucket to be sent and taken in; who is missing then is lost."""
    quiet_s: float = 0.25
    """A round begins when nobody has come for so long."""

    def put(self, version: int, weights: Mapping[str, Tensor]) -> None:
        board = self._board()
        older = [offer for offer in board.offers() if offer.version < version]
        kept = older[max(0, len(older) - self.keep + 1) :]
        _withdraw(board, all_but=kept)  # first, so that there are never more than `keep` copies
        layouts = layouts_of(weights, bucket_bytes=self.bucket_bytes)
        offer = Offer(version=version, number=board.new_number())
        Sender(
            self._board(),
            offer.number,
            tuple((layout, packed(layout, weights)) for layout in layouts),
            gpu=_own_gpu(),
            limit_s=self.limit_s,
            quiet_s=self.quiet_s,
        ).start()
        board.set_offers([*kept, offer])

    def get(self, version: int) -> Mapping[str, Tensor]:
        return self.receive(version, dict)

    def receive(
        self,
        version: int,
        load: Callable[[Iterator[tuple[str, Tensor]]], T],
        *,
        device: torch.device = HOST_MEMORY,
    ) -> T:
        """What `load` makes of the weights, which reach it bucket by bucket, on `device` or in host memory.

        It is called anew if a round breaks off; what it made counts once this returns, as the checksum comes
        last. CheckpointError if the version is gone, EngineError if it cannot be had.
        """
        for _ in range(_MOST_ROUNDS):
            try:
                return self._take_part(version, load, device)
            except GroupBroken as error:
                _log.warning("a round of weights broke off: %s", error)
        raise EngineError(f"{_MOST_ROUNDS} rounds of version {version} broke off; start the engine anew")

    def checksum(self, version: int) -> str:
        """Of the weights as they were put; CheckpointError if the version is gone."""
        board = self._board()
        offer = _offer(board, version)
        return self._answer(board, offer, lambda: board.manifest(offer.number)).checksum

    def close(self) -> None:
        """Every sender ends, wherever it is; what it kept goes."""
        board = self._board()
        withdrawn = _withdraw(board, all_but=[])
        deadline_s = time.monotonic() + _LEAVE_S
        while not all(map(board.is_read, withdrawn)) and time.monotonic() < deadline_s:
            time.sleep(_LOOK_EVERY_S)

    def _take_part(
        self, version: int, load: Callable[[Iterator[tuple[str, Tensor]]], T], device: torch.device
    ) -> T:
        """In one round."""
        board = self._board()
        offer = _offer(board, version)
        manifest = self._answer(board, offer, lambda: board.manifest(offer.number))
        ticket = board.leave_ticket(offer.number, gpu_of(device))
        seat = self._answer(board, offer, lambda: board.seat(ticket))
        place = device if seat.backend == "nccl" else HOST_MEMORY
        folds: list[Fold] = []
        with joined(board.store, seat, device=place, limit_s=self.limit_s) as group:
            loaded = load(_arriving(group, manifest, place, folds))
        if checksum(manifest.layouts, folds) != manifest.checksum:
            raise EngineError(f"version {version} did not arrive as it was sent; adopt it again")
        return loaded

    def _answer(self, board: Board, offer: Offer, look: Callable[[], T | None]) -> T:
        """What the sender writes down in time; CheckpointError if it withdraws the offer instead."""
        deadline_s = time.monotonic() + _PATIENCE_LIMITS * self.limit_s
        while (answer := look()) is None:
            if offer not in board.offers():
                raise CheckpointError(f"version {offer.version} is gone; adopt a later one")
            if time.monotonic() > deadline_s:
                raise EngineError(f"nobody sends version {offer.version}; is the learner alive?")
            time.sleep(_LOOK_EVERY_S)
        return answer

    def _board(self) -> Board:
        return Board(self.host, self.port, limit_s=self.limit_s)


@contextmanager
def broadcasting(
    host: str = LOOPBACK, *, limit_s: float = 30.0, bucket_bytes: int = 2**28
) -> Iterator[BroadcastChannel]:
    """A channel that is open at this address alone; on leaving, nothing is served or kept any more."""
    with serving(host) as port:
        channel = BroadcastChannel(host=host, port=port, limit_s=limit_s, bucket_bytes=bucket_bytes)
        try:
            yield channel
        finally:
            channel.close()


def _arriving(
    group: Group, manifest: Manifest, device: torch.device, folds: list[Fold]
) -> Iterator[tuple[str, Tensor]]:
    """The weights in buffers of their own, and into `folds` what came."""
    for layout in manifest.layouts:
        buffer = torch.empty(layout.num_bytes, dtype=torch.uint8, device=device)
        group.broadcast(buffer)
        folds.append(fold(buffer))
        yield from unpacked(layout, buffer)


def _offer(board: Board, version: int) -> Offer:
    offers = {offer.version: offer for offer in board.offers()}
    if version not in offers:
        raise CheckpointError(f"weights of version {version} are gone; adopt one of {sorted(offers)}")
    return offers[version]


def _withdraw(board: Board, *, all_but: list[Offer]) -> list[int]:
    """The numbers of those that are retired."""
    withdrawn = [offer.number for offer in board.offers() if offer not in all_but]
    board.set_offers(all_but)
    for number in withdrawn:
        board.retire(number)
    return withdrawn


def _own_gpu() -> torch.device:
    """Of this thread, if the process uses any."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return HOST_MEMORY
    return torch.device("cuda", torch.cuda.current_device())
