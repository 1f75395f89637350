"""Attention for generation, registered with transformers: keys and values live in our own rows.

One forward takes T tokens of many rollouts end to end, shape (1, T): first one token of each of the rows
0..n-1 (decode), then whole chunks of new tokens for other rows (prefill). All else in a transformer works on
single tokens, so the model needs no change; the layout reaches us through the model's forward **kwargs.

    tokens   [row 0][row 1] ... [row n-1][chunk of row n .........][chunk of row n+1 ...]
              `---- dense, one kernel ---'`---- one kernel per chunk ----'

Rows are dense, so that a decode step reads views, with no gather and no page table. Values are kept as (rows,
kv_heads, capacity, head_dim) and keys transposed, (rows, kv_heads, head_dim, capacity): both products of a
decode step then stream over contiguous memory, 2-3 times faster on a CPU than a fused kernel.
No mask function is registered: transformers then leaves the mask to us.

Legend: N rows, H kv heads, R query heads per kv head, S key positions, Q query positions, D head_dim.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

CACHED_ATTENTION = "rstar2_cached"

_CAPACITY_MULTIPLE = 32
"""Positions per row come in multiples of this: one copy of everything per 32 steps."""

Prefix = tuple[tuple[Tensor, Tensor], ...]
"""Of one sequence, per layer: compact keys (H, D, length) and values (H, length, D)."""


class RowCache:
    """Keys and values of the running rollouts, one dense row each.

    The capacity of a row follows the longest one, up and down, so that a step reads whole tensors: batched
    products copy any operand with gaps first (bfloat16 on a CPU), which costs as much as they do.
    Layers come into being at their first write, so nothing is read from the model's configuration.
    Memory starts as zeros: a masked position has probability 0, but 0 times an uninitialised NaN is NaN.
    """

    def __init__(self) -> None:
        self.num_rows = 1
        self.capacity_tokens = _CAPACITY_MULTIPLE
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._spare: Tensor | None = None

    def fit(self, num_rows: int, longest: int) -> None:
        """Make room for rows 0 to `num_rows` - 1 of at most `longest` positions; these are kept."""
        wanted = -(-longest // _CAPACITY_MULTIPLE) * _CAPACITY_MULTIPLE
        is_tight = self.capacity_tokens * 3 < wanted * 4  # not for every row that ends is it worth shrinking
        if num_rows <= self.num_rows and wanted <= self.capacity_tokens and is_tight:
            return
        while self.num_rows < num_rows:
            self.num_rows *= 2
        self.capacity_tokens = wanted
        self._layers = {
            index: (self._resized(keys, 3), self._resized(values, 2))
            for index, (keys, values) in self._layers.items()
        }

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of layer `index`; a new one is like `key` and `value` (1, H, T, D)."""
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
        shared = min(old.shape[capacity_dim], self.capacity_tokens)
        new[: old.shape[0]].narrow(capacity_dim, 0, shared).copy_(old.narrow(capacity_dim, 0, shared))
        self._spare = old.as_strided((old.untyped_storage().nbytes() // old.itemsize,), (1,))
        return new

    def _from_spare(self, like: Tensor, shape: list[int]) -> Tensor:
        """A tensor of this shape, in fresh memory with room to double only if the spare is too small.

        First touches of fresh memory are what makes a naive reallocation slow.
        """
        num_elements = math.prod(shape)
        if self._spare is None or self._spare.numel() < num_elements or self._spare.dtype != like.dtype:
            self._spare = like.new_zeros(2 * num_elements)
        return self._spare[:num_elements].view(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """New tokens of one row: `num_tokens` of them, after the `start` positions that the row already holds."""

    row: int
    start: int
    num_tokens: int


class CacheLayout:
    """Where the tokens of one forward live: one after the `lengths[i]` of each row, then the chunks."""

    def __init__(
        self, cache: RowCache, lengths: Sequence[int], chunks: Sequence[Chunk], device: torch.device
    ) -> None:
        self.cache = cache
        self.chunks = tuple(chunks)
        self.num_decode = len(lengths)
        self.lengths = torch.tensor(lengths, dtype=torch.long, device=device)
        self.rows = torch.arange(self.num_decode, device=device)
        self._bias: dict[int | None, Tensor] = {}

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

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Added to the scores of the decode rows, (N, 1, 1, S): -inf at keys that a row does not see.

        A row sees itself and its past, within the sliding window if the layer has one. One bias serves all
        layers with the same window.
        """
        if window not in self._bias:
            keys_S = torch.arange(self.cache.capacity_tokens, device=self.lengths.device)
            hidden_NS = keys_S > self.lengths[:, None]
            if window is not None:
                hidden_NS |= keys_S <= self.lengths[:, None] - window
            bias_NS = torch.zeros(hidden_NS.shape, dtype=dtype, device=hidden_NS.device)
            self._bias[window] = bias_NS.masked_fill_(hidden_NS, -torch.inf)[:, None, None]
        return self._bias[window]


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
        keys[cache_layout.rows, :, :, cache_layout.lengths] = key[decoded]
        values[cache_layout.rows, :, cache_layout.lengths] = value[decoded]
        out[decoded] = _decode(query[decoded], keys, values, cache_layout, scaling, sliding_window)
    for chunk in cache_layout.chunks:
        tokens, end = slice(first, first + chunk.num_tokens), chunk.start + chunk.num_tokens
        keys[chunk.row, :, :, chunk.start : end] = key[tokens].permute(1, 2, 0)
        values[chunk.row, :, chunk.start : end] = value[tokens].transpose(0, 1)
        row = slice(chunk.row, chunk.row + 1)
        out[tokens] = _prefill(
            query[tokens], keys[row, :, :, :end], values[row, :, :end], scaling, sliding_window
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
    query_NHRD = query.reshape(num_rows, keys.shape[1], -1, head_dim) * scaling
    scores_NHRS = query_NHRD @ keys[:num_rows]
    scores_NHRS += layout.bias(window, query.dtype)
    out_NHRD = scores_NHRS.softmax(dim=-1) @ values[:num_rows]
    return out_NHRD.reshape(num_rows, num_heads, -1)


def _prefill(query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int | None) -> Tensor:
    """The last Q positions of one row, (Q, H*R, D), over its keys (1, H, D, S) and values (1, H, S, D)."""
    num_queries, num_heads, head_dim = query.shape
    kv_heads, num_keys = values.shape[1], values.shape[2]
    repeats = num_heads // kv_heads
    mask = None
    if num_queries < num_keys or (window is not None and window < num_keys):
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
        mask = mask.tril(num_keys - num_queries)
        if window is not None:
            mask = mask.triu(num_keys - num_queries - window + 1)
    out = scaled_dot_product_attention(
        query.transpose(0, 1).reshape(kv_heads, repeats, num_queries, head_dim),
        keys[0].transpose(1, 2).contiguous()[:, None].expand(-1, repeats, -1, -1),
        values[0][:, None].expand(-1, repeats, -1, -1),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    return out.reshape(num_heads, num_queries, -1).transpose(0, 1)
