"""Keys and values in dense rows, one row per sequence, the same for every layer.

Dense, so that a decode step reads views, with no gather and no page table. Values are (rows, kv_heads,
capacity, head_dim) and keys transposed, (rows, kv_heads, head_dim, capacity): both products of a decode
step then stream over contiguous memory, 2-3 times faster on a CPU than a fused kernel.
Not here: which sequence has which row (engines/batch.py), attention (cached_attention.py).
"""

import math

from torch import Tensor

_CAPACITY_MULTIPLE = 32
"""Positions per row come in multiples of this: one copy of everything per 32 steps."""

Prefix = tuple[tuple[Tensor, Tensor], ...]
"""Per layer, compact: keys (kv_heads, head_dim, length) and values (kv_heads, length, head_dim)."""


class RowCache:
    """Rows that grow and shrink together.

    The capacity of a row follows the longest one, up and down, so that a step reads whole tensors: batched
    products copy any operand with gaps first (bfloat16 on a CPU), which costs as much as they do.
    Invariant: if `holds` is asked first, each tensor's memory stays within the room; one more is spare.
    Layers come into being at their first write, so nothing is read from the model's configuration.
    Memory starts as zeros: a masked position has probability 0, but 0 times an uninitialised NaN is NaN.
    """

    def __init__(self, room_tokens: int = 0) -> None:
        """Beyond `room_tokens` positions in all, nothing is allocated ahead of need."""
        self.room_tokens = room_tokens
        self.num_rows = 1
        self.capacity_tokens = _CAPACITY_MULTIPLE
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._spare: Tensor | None = None

    def holds(self, num_rows: int, longest: int) -> bool:
        """Whether rows of at most `longest` positions stay within the room; one always does."""
        return num_rows <= max(1, self.room_tokens // _capacity(longest))

    def fit(self, num_rows: int, longest: int) -> None:
        """Make room for rows 0 to `num_rows` - 1 of at most `longest` positions; these are kept."""
        wanted = _capacity(longest)
        is_tight = self.capacity_tokens * 3 < wanted * 4  # not for every row that ends is it worth shrinking
        if num_rows <= self.num_rows and wanted <= self.capacity_tokens and is_tight:
            return
        while self.num_rows < num_rows:
            self.num_rows *= 2
        self.num_rows = max(num_rows, min(self.num_rows, self.room_tokens // wanted))
        self.capacity_tokens = wanted
        self._layers = {
            index: (self._resized(keys, 3), self._resized(values, 2))
            for index, (keys, values) in self._layers.items()
        }

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of layer `index`; a new one is like `key` and `value` (1, kv_heads, T, head_dim)."""
        if index not in self._layers:
            _, kv_heads, _, head_dim = key.shape
            keys = key.new_zeros(self.num_rows, kv_heads, head_dim, self.capacity_tokens)
            values = value.new_zeros(self.num_rows, kv_heads, self.capacity_tokens, value.shape[3])
            self._layers[index] = (keys, values)
        return self._layers[index]

    def read(self, row: int, length: int) -> Prefix:
        """A compact copy of the first `length` positions of a row."""
        return tuple(
            (keys[row, :, :, :length].clone(), values[row, :, :length].clone())
            for keys, values in self._layers.values()
        )

    def write(self, row: int, prefix: Prefix, length: int) -> None:
        """Copy the first `length` positions of a compact prefix to the beginning of a row."""
        for (keys, values), (prefix_keys, prefix_values) in zip(self._layers.values(), prefix, strict=True):
            keys[row, :, :, :length] = prefix_keys[:, :, :length]
            values[row, :, :length] = prefix_values[:, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row over another."""
        for keys, values in self._layers.values():
            keys[target, :, :, :length] = keys[source, :, :, :length]
            values[target, :, :length] = values[source, :, :length]

    def _resized(self, old: Tensor, capacity_dim: int) -> Tensor:
        """The same rows at the present capacity, in the memory that the tensor before this one left."""
        shape = list(old.shape)
        shape[0], shape[capacity_dim] = self.num_rows, self.capacity_tokens
        new = self._from_spare(old, shape)
        rows, shared = min(old.shape[0], self.num_rows), min(old.shape[capacity_dim], self.capacity_tokens)
        kept = old[:rows].narrow(capacity_dim, 0, shared)
        new[:rows].narrow(capacity_dim, 0, shared).copy_(kept)
        self._spare = old.as_strided((old.untyped_storage().nbytes() // old.itemsize,), (1,))
        return new

    def _from_spare(self, like: Tensor, shape: list[int]) -> Tensor:
        """A tensor of this shape, in fresh memory with room to double only if the spare is too small.

        First touches of fresh memory are what makes a naive reallocation slow.
        """
        num_elements = math.prod(shape)
        if self._spare is None or self._spare.numel() < num_elements or self._spare.dtype != like.dtype:
            num_positions = self.num_rows * self.capacity_tokens
            ahead = max(num_positions, min(2 * num_positions, self.room_tokens))
            self._spare = like.new_zeros(num_elements // num_positions * ahead)
        return self._spare[:num_elements].view(shape)


def _capacity(longest: int) -> int:
    """Positions of each row if the longest has so many."""
    return max(1, -(-longest // _CAPACITY_MULTIPLE)) * _CAPACITY_MULTIPLE
