"""What the sides of a broadcast write down for each other: offers, tickets and seats.

    sender     offers version 7 under number 3, describes it .... takes tickets, gives out seats
    receiver   finds the offer .................................. leaves a ticket, finds its seat

Over a `TCPStore`, whose server is in the process that opened the channel.
"""

import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta

from torch._C._distributed_c10d import TCPStore

from rstar2.errors import EngineError
from rstar2.weights.buckets import Manifest
from rstar2.weights.groups import Seat

_ENDLESS = timedelta(days=20)
"""The store counts milliseconds in 32 bits."""
_OFFERS = "offers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A version that a sender serves."""

    version: int
    number: int
    """A version that is put again has another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Somebody wants a seat."""

    name: str
    gpu: str
    """Where the weights should arrive; empty for host memory."""


@contextmanager
def serving(host: str) -> Iterator[int]:
    """The port of an empty board, which is open at this address alone."""
    listener = socket.create_server((host, 0))
    port: int = listener.getsockname()[1]
    server = TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    server.set(_OFFERS, "[]")
    yield port


class Board:
    """One side's connection; not to be shared between threads."""

    def __init__(self, host: str, port: int, *, limit_s: float) -> None:
        self._limit = timedelta(seconds=limit_s)
        try:
            self.store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=self._limit)
        except RuntimeError as error:
            raise EngineError(
                f"nobody serves weights at {host}:{port} any more ({error}); start the run again"
            ) from error

    # -- offers ------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        """The oldest version first."""
        return [Offer(**offer) for offer in json.loads(self.store.get(_OFFERS))]

    def set_offers(self, offers: list[Offer]) -> None:
        self.store.set(_OFFERS, json.dumps([asdict(offer) for offer in offers]))

    def new_number(self) -> int:
        number: int = self.store.add("numbers", 1)
        return number

    def describe(self, number: int, manifest: Manifest) -> None:
        self.store.set(f"{number}/manifest", manifest.to_json())

    def manifest(self, number: int) -> Manifest | None:
        """None until its sender has described it."""
        key = f"{number}/manifest"
        return Manifest.from_json(self.store.get(key)) if self.store.check([key]) else None

    # -- rounds ------------------------------------------------------------------------------------

    def leave_ticket(self, number: int, gpu: str) -> Ticket:
        ticket = Ticket(name=secrets.token_hex(8), gpu=gpu)
        self.store.queue_push(f"{number}/tickets", json.dumps(asdict(ticket)))
        return ticket

    def retire(self, number: int) -> None:
        """Its sender ends; who comes too late finds the offer gone."""
        self.store.delete_key(f"{number}/manifest")  # large enough to matter after thousands of versions
        self.store.queue_push(f"{number}/tickets", json.dumps(None))

    def is_read(self, number: int) -> bool:
        """Whether its sender has seen all that was left for it."""
        return bool(self.store.queue_len(f"{number}/tickets") == 0)

    def tickets(self, number: int, *, quiet_s: float) -> list[Ticket]:
        """Of the next round: all that come, until for `quiet_s` none does. Empty once it is retired."""
        tickets = [self._take_ticket(number)]
        while None not in tickets:
            time.sleep(quiet_s)
            num_more = self.store.queue_len(f"{number}/tickets")
            if not num_more:
                return [ticket for ticket in tickets if ticket]
            tickets += [self._take_ticket(number) for _ in range(num_more)]
        return []

    def give_seat(self, ticket: Ticket, seat: Seat) -> None:
        self.store.set(f"seat/{ticket.name}", json.dumps(asdict(seat)))

    def seat(self, ticket: Ticket) -> Seat | None:
        """None until it is given out."""
        key = f"seat/{ticket.name}"
        return Seat(**json.loads(self.store.get(key))) if self.store.check([key]) else None

    def _take_ticket(self, number: int) -> Ticket | None:
        self.store.set_timeout(_ENDLESS)
        content = json.loads(self.store.queue_pop(f"{number}/tickets"))
        self.store.set_timeout(self._limit)
        return Ticket(**content) if content else None
