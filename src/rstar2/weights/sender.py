"""The learner's side of a broadcast: a thread that serves one version until a newer one takes its place."""

import logging
import threading
from itertools import count

import torch
from torch import Tensor

from rstar2.weights.board import Board, Ticket
from rstar2.weights.buckets import Layout, Manifest, checksum, fold
from rstar2.weights.groups import HOST_MEMORY, GroupBroken, Seat, backend_for, gpu_of, joined

_log = logging.getLogger(__name__)


class Sender(threading.Thread):
    """Of the version that is offered under this number; ends when that is retired."""

    def __init__(
        self,
        board: Board,
        number: int,
        buckets: tuple[tuple[Layout, Tensor], ...],
        *,
        gpu: torch.device,
        limit_s: float,
        quiet_s: float,
    ) -> None:
        """`gpu` is the one to send from where NCCL does; host memory if this process has none."""
        # No daemon: it would abort a process that ends while the store or the group has the thread.
        super().__init__(name=f"sender-{number}")
        self._board = board
        self._number = number
        self._buckets = buckets
        self._gpu = gpu
        self._limit_s = limit_s
        self._quiet_s = quiet_s

    def run(self) -> None:
        layouts = tuple(layout for layout, _ in self._buckets)
        try:
            sums = [fold(buffer) for _, buffer in self._buckets]
            self._board.describe(self._number, Manifest(layouts=layouts, checksum=checksum(layouts, sums)))
            for round_number in count():
                if not (tickets := self._board.tickets(self._number, quiet_s=self._quiet_s)):
                    return
                self._send(f"{self._number}.{round_number}", tickets)
        except RuntimeError as error:  # the store is gone, and with it the run
            _log.info("nobody can ask for weights any more: %s", error)

    def _send(self, group_name: str, tickets: list[Ticket]) -> None:
        """One round; if it breaks off, as a receiver is lost or this GPU is full, the others come again."""
        backend = backend_for([gpu_of(self._gpu), *(ticket.gpu for ticket in tickets)])
        seats = [
            Seat(group=group_name, rank=rank, size=len(tickets) + 1, backend=backend)
            for rank in range(len(tickets) + 1)
        ]
        for ticket, seat in zip(tickets, seats[1:], strict=True):
            self._board.give_seat(ticket, seat)
        device = self._gpu if backend == "nccl" else HOST_MEMORY
        try:
            with joined(self._board.store, seats[0], device=device, limit_s=self._limit_s) as group:
                for _, buffer in self._buckets:
                    group.broadcast(buffer.to(device))
        except (GroupBroken, torch.OutOfMemoryError) as error:
            _log.warning("a round of %d receivers of weights broke off: %s", len(tickets), error)
