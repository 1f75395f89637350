"""Attention for generation, registered with transformers: keys and values live in our own rows.

One forward takes T tokens of many rollouts end to end, shape (1, T): first one token of each of the rows
0..n-1 (decode), then whole chunks of new tokens for other rows (prefill). All else in a transformer works on
single tokens, so the model needs no change; the layout reaches us through the model's forward **kwargs.

    tokens   [row 0][row 1] ... [row n-1][chunk of row n .........][chunk of row n+1 ...]
              `---- dense, one kernel ---'`---- one kernel per chunk ----'

Rows are dense: (rows, kv_heads, capacity, head_dim) per layer, so that a decode step reads views, with no
gather and no page table. No mask function is registered: transformers then leaves the mask to us.

Legend: N rows, H kv heads, R query heads per kv head, S key positions, Q query positions, D head_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

CACHED_ATTENTION = "rstar2_cached"

_READ_MULTIPLE = 16
"""Key positions are read in multiples of this: alignment for the kernels, few distinct shapes."""

Prefix = tuple[tuple[Tensor, Tensor], ...]
"""Compact (keys, values) per layer of one sequence, each (kv_heads, length, head_dim)."""


class RowCache:
    """Keys and values of the running rollouts, one dense row each; grows by doubling.

    Layers come into being at their first write, so nothing is read from the model's configuration.
    Memory starts as zeros: a masked position has probability 0, but 0 times an uninitialised NaN is NaN.
    """

    def __init__(self, num_rows: int = 1, capacity_tokens: int = 64) -> None:
        self.num_rows = num_rows
        self.capacity_tokens = capacity_tokens
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def ensure(self, num_rows: int, capacity_tokens: int) -> None:
        """Grow so that `num_rows` rows of `capacity_tokens` positions fit; contents are kept."""
        if num_rows <= self.num_rows and capacity_tokens <= self.capacity_tokens:
            return
        self.num_rows = _doubled(self.num_rows, num_rows)
        self.capacity_tokens = _doubled(self.capacity_tokens, capacity_tokens)
        self._layers = {
            i: (self._grown(keys), self._grown(values)) for i, (keys, values) in self._layers.items()
        }

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of layer `index`; a new one is like `key` and `value` (1, H, T, D)."""
        if index not in self._layers:
            self._layers[index] = (self._empty(key), self._empty(value))
        return self._layers[index]

    def read(self, row: int, length: int) -> Prefix:
        """A compact copy of the first `length` positions of a row."""
        return tuple(
            (keys[row, :, :length].clone(), values[row, :, :length].clone())
            for keys, values in self._layers.values()
        )

    def write(self, row: int, prefix: Prefix, length: int) -> None:
        """Copy the first `length` positions of a compact prefix to the beginning of a row."""
        for (keys, values), (prefix_keys, prefix_values) in zip(self._layers.values(), prefix, strict=True):
            keys[row, :, :length] = prefix_keys[:, :length]
            values[row, :, :length] = prefix_values[:, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row over another."""
        for keys, values in self._layers.values():
            keys[target, :, :length] = keys[source, :, :length]
            values[target, :, :length] = values[source, :, :length]

    def _empty(self, like: Tensor) -> Tensor:
        _, kv_heads, _, head_dim = like.shape
        return like.new_zeros(self.num_rows, kv_heads, self.capacity_tokens, head_dim)

    def _grown(self, old: Tensor) -> Tensor:
        new = old.new_zeros(self.num_rows, old.shape[1], self.capacity_tokens, old.shape[3])
        new[: old.shape[0], :, : old.shape[2]] = old
        return new


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """New tokens of one row: `num_tokens` of them, after the `start` positions that the row already holds."""

    row: int
    start: int
    num_tokens: int


class CacheLayout:
    """Where the tokens of one forward live: `lengths[i]` positions lie in decode row i."""

    def __init__(
        self, cache: RowCache, lengths: Sequence[int], chunks: Sequence[Chunk], device: torch.device
    ) -> None:
        self.cache = cache
        self.chunks = tuple(chunks)
        self.num_decode = len(lengths)
        ends = [length + 1 for length in lengths]
        cache.ensure(
            max([self.num_decode, *(chunk.row + 1 for chunk in chunks)]),
            max([*ends, *(chunk.start + chunk.num_tokens for chunk in chunks)]),
        )
        self.num_keys = min(
            -(-max(ends, default=0) // _READ_MULTIPLE) * _READ_MULTIPLE, cache.capacity_tokens
        )
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=device)
        self.rows = torch.arange(self.num_decode, device=device)
        self._visible: dict[int | None, Tensor] = {}

    @property
    def position_ids(self) -> Tensor:
        """Absolute position of each token, (1, T)."""
        device = self.lengths.device
        chunks = [torch.arange(c.start, c.start + c.num_tokens, device=device) for c in self.chunks]
        return torch.cat([self.lengths, *chunks])[None]

    @property
    def last_tokens(self) -> Tensor:
        """Index in 0..T-1 of the last token of each row: where the next one is drawn, (N,)."""
        counts = torch.tensor([1] * self.num_decode + [chunk.num_tokens for chunk in self.chunks])
        return (counts.cumsum(0) - 1).to(self.lengths.device)

    def visible(self, window: int | None) -> Tensor:
        """Which keys each decode row sees, (N, 1, 1, S): itself and the past, within the sliding window.

        One mask serves all layers with the same window.
        """
        if window in self._visible:
            return self._visible[window]
        keys_S = torch.arange(self.num_keys, device=self.lengths.device)
        visible_NS = keys_S <= self.lengths[:, None]
        if window is not None:
            visible_NS &= keys_S > self.lengths[:, None] - window
        self._visible[window] = visible_NS[:, None, None]
        return self._visible[window]


def use_cached_attention(model: PreTrainedModel) -> None:
    """Make the model take `cache_layout=CacheLayout` in its forward, with token ids of shape (1, T)."""
    model.set_attn_implementation(CACHED_ATTENTION)


def cached_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cache_layout: CacheLayout,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls: (1, heads, T, D) in, (1, T, heads, D) out."""
    assert attention_mask is None, "rows have no padding to mask"
    assert dropout == 0.0, "generation has no dropout"
    if softcap is not None:
        raise NotImplementedError(
            "cached attention has no soft cap of attention scores, which this model needs"
        )
    layer_index = module.layer_idx
    assert isinstance(layer_index, int)
    keys, values = cache_layout.cache.layer(layer_index, key, value)
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))  # (T, heads, D)
    out = query.new_empty(*query.shape[:2], value.shape[2])
    first = cache_layout.num_decode
    if first:
        decoded = slice(0, first)
        keys[cache_layout.rows, :, cache_layout.lengths] = key[decoded]
        values[cache_layout.rows, :, cache_layout.lengths] = value[decoded]
        out[decoded] = _decode(query[decoded], keys, values, cache_layout, scaling, sliding_window)
    for chunk in cache_layout.chunks:
        tokens, end = slice(first, first + chunk.num_tokens), chunk.start + chunk.num_tokens
        keys[chunk.row, :, chunk.start : end] = key[tokens].transpose(0, 1)
        values[chunk.row, :, chunk.start : end] = value[tokens].transpose(0, 1)
        row = slice(chunk.row, chunk.row + 1)
        out[tokens] = _prefill(
            query[tokens], keys[row, :, :end], values[row, :, :end], scaling, sliding_window
        )
        first = tokens.stop
    return out[None], None


AttentionInterface.register(CACHED_ATTENTION, cached_attention)


def _decode(
    query: Tensor, keys: Tensor, values: Tensor, layout: CacheLayout, scaling: float, window: int | None
) -> Tensor:
    """One query per row, (N, H*R, D) -> (N, H*R, D).

    The R query heads of a kv head stand in the place of query positions, so that keys are read once.
    """
    num_rows, num_heads, head_dim = query.shape
    kv_heads = keys.shape[1]
    out = scaled_dot_product_attention(
        query.reshape(num_rows, kv_heads, num_heads // kv_heads, head_dim),
        keys[:num_rows, :, : layout.num_keys],
        values[:num_rows, :, : layout.num_keys],
        attn_mask=layout.visible(window),
        scale=scaling,
    )
    return out.reshape(num_rows, num_heads, -1)


def _prefill(query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int | None) -> Tensor:
    """The last Q positions of one row, (Q, H*R, D), over its keys (1, H, S, D); heads are expanded, not copied."""
    num_queries, num_heads, head_dim = query.shape
    kv_heads, num_keys = keys.shape[1], keys.shape[2]
    shape = (kv_heads, num_heads // kv_heads, num_keys, -1)
    mask = None
    if num_queries < num_keys or (window is not None and window < num_keys):
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device).tril(
            num_keys - num_queries
        )
        if window is not None:
            mask = mask.triu(num_keys - num_queries - window + 1)
    out = scaled_dot_product_attention(
        query.transpose(0, 1).reshape(kv_heads, num_heads // kv_heads, num_queries, head_dim),
        keys[0][:, None].expand(shape),
        values[0][:, None].expand(shape),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    return out.reshape(num_heads, num_queries, -1).transpose(0, 1)


def _doubled(size: int, wanted: int) -> int:
    while size < wanted:
        size *= 2
    return size
