"""Who is next: round robin over the clients that wait, verification jobs before tool calls. Pure.

A client with any number of waiting items delays another's next one by at most one item. Items of one chain
leave one at a time: the next gets in line when the one before it is done with. Invariants: whatever is
pushed is popped or removed once; items of one client and kind leave as they came, but for those in chains.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from rstar2.errors import SandboxError
from rstar2.types import JobKind

Item = TypeVar("Item")

_CLIENT_SHARE = 0.75
"""Of the bound: what one client may fill of it, so that the others are never refused on its account."""

_MOST_VERIFICATIONS_IN_A_ROW = 4
"""Of one client while it has tool calls waiting, which would starve otherwise."""


class QueueFull(SandboxError):
    """The service has more waiting jobs than it may hold; it takes more when some have run."""


class _Line(Generic[Item]):
    """What one client waits for."""

    def __init__(self) -> None:
        self.waiting: dict[JobKind, OrderedDict[Item, None]] = {kind: OrderedDict() for kind in JobKind}
        self._verifications_in_a_row = 0

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def pop(self) -> tuple[JobKind, Item]:
        kind = self._next_kind()
        is_verification = kind is JobKind.VERIFICATION
        self._verifications_in_a_row = self._verifications_in_a_row + 1 if is_verification else 0
        return kind, self.waiting[kind].popitem(last=False)[0]

    def _next_kind(self) -> JobKind:
        tools, verifications = self.waiting[JobKind.TOOL], self.waiting[JobKind.VERIFICATION]
        is_tools_turn = tools and self._verifications_in_a_row >= _MOST_VERIFICATIONS_IN_A_ROW
        return JobKind.VERIFICATION if verifications and not is_tools_turn else JobKind.TOOL


class FairQueue(Generic[Item]):
    """Holds hashable items, each at most once; every operation costs O(1)."""

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._max_items_of_client = max(1, int(max_items * _CLIENT_SHARE))
        self._lines: OrderedDict[str, _Line[Item]] = OrderedDict()
        """Of the clients that wait for something; the first of them is served next."""
        self._chains: dict[Hashable, OrderedDict[Item, tuple[str, JobKind]]] = {}
        """Of which an item is in line or popped: those behind it, with their clients and kinds."""
        self._num_chained: Counter[str] = Counter()
        """Of each client, items that are behind others of their chains."""
        self._num_waiting = dict.fromkeys(JobKind, 0)
        self._num_items = 0

    def __len__(self) -> int:
        return self._num_items

    @property
    def has_next(self) -> bool:
        """Whether there is an item to pop."""
        return bool(self._lines)

    def num_waiting(self, kind: JobKind) -> int:
        return self._num_waiting[kind]

    def check_room(self, client: str, num_items: int) -> None:
        """QueueFull unless so many more items of the client fit."""
        in_line = len(self._lines[client]) if client in self._lines else 0
        of_client = in_line + self._num_chained[client]
        if self._num_items + num_items > self._max_items:
            raise QueueFull(f"{self._num_items} jobs wait already; post again later, or fewer at once")
        if of_client + num_items > self._max_items_of_client:
            raise QueueFull(
                f"{of_client} jobs of client '{client}' wait already; post more when some of them are done"
            )

    def push(self, client: str, kind: JobKind, item: Item, *, chain: Hashable = None) -> None:
        """Append, whether there is room or not. Whoever pops an item of a chain calls `let_next` for it."""
        self._count(kind, +1)
        if chain in self._chains:
            self._chains[chain][item] = client, kind
            self._num_chained[client] += 1
            return
        if chain is not None:
            self._chains[chain] = OrderedDict()
        self._line_up(client, kind, item)

    def let_next(self, chain: Hashable) -> None:
        """The popped item of the chain is done with."""
        if chain is None:
            return
        if self._chains[chain]:
            item, (client, kind) = self._chains[chain].popitem(last=False)
            self._unchain(client)
            self._line_up(client, kind, item)
        else:
            del self._chains[chain]

    def pop(self) -> Item:
        """Take the next item; there must be one."""
        client, line = next(iter(self._lines.items()))
        kind, item = line.pop()
        self._count(kind, -1)
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        return item

    def remove(self, client: str, kind: JobKind, item: Item, *, chain: Hashable = None) -> None:
        """Take out an item that nobody waits for any more; KeyError if it is not there."""
        behind = self._chains.get(chain)
        if behind is not None and item in behind:
            del behind[item]
            self._unchain(client)
        else:
            line = self._lines[client]
            del line.waiting[kind][item]
            if not line:
                del self._lines[client]
            self.let_next(chain)
        self._count(kind, -1)

    def _line_up(self, client: str, kind: JobKind, item: Item) -> None:
        self._lines.setdefault(client, _Line()).waiting[kind][item] = None

    def _unchain(self, client: str) -> None:
        self._num_chained[client] -= 1
        if not self._num_chained[client]:
            del self._num_chained[client]

    def _count(self, kind: JobKind, change: int) -> None:
        self._num_waiting[kind] += change
        self._num_items += change
