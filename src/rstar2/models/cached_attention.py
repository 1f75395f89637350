"""Attention for generation, registered with transformers: keys and values live in our own rows.

One forward takes T tokens of many rollouts end to end, shape (1, T). All else in a transformer works on
single tokens, so the model needs no change; the layout reaches us through the model's forward **kwargs.

    tokens   [row 0][row 1] ... [row n-1][new prompt ......][chunk of row n ......][chunk of row n+1 ...]
              `--- one token each -----'

A row holds what is its own; the prompt before it is stored once for all rows that share it, and the queries
of these rows meet it in one matrix product, instead of a small one per row. One softmax spans both parts:

    scores = [q K_prompt | q K_own],   p = softmax(scores),   out = p_prompt V_prompt + p_own V_own

All keys and values are written before they are read, so a new prompt serves rows of the same forward.
No mask function is registered: transformers then leaves the mask to us.

Legend: N decode rows, H kv heads, R query heads per kv head, S key positions, Q query positions, D head_dim,
G prompts, M the most decode rows that any prompt has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from rstar2.errors import ConfigError
from rstar2.models.row_cache import RowCache

CACHED_ATTENTION = "rstar2_cached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """New tokens of one row: `num_tokens` after `start` of its own, after the `num_shared` of its prompt."""

    prompt: int
    """Row of the prompt in the prompt cache."""
    num_shared: int
    start: int
    num_tokens: int = 1


class CacheLayout:
    """Where the tokens of one forward live: rows that decode, then new prompts, then rows with chunks.

    Row i is that of span i in `decode` followed by `chunks`; `new_prompts` gives (row in `prompts`, length).
    """

    def __init__(
        self,
        rows: RowCache,
        prompts: RowCache,
        *,
        decode: Sequence[Span],
        new_prompts: Sequence[tuple[int, int]] = (),
        chunks: Sequence[Span] = (),
        device: torch.device,
    ) -> None:
        self.rows, self.prompts = rows, prompts
        self.num_decode = len(decode)
        self.new_prompts, self.chunks = tuple(new_prompts), tuple(chunks)
        starts = torch.tensor([(span.num_shared, span.start) for span in decode], dtype=torch.long)
        self.num_shared, self.num_own = starts.view(-1, 2).to(device).unbind(1)
        self.row_numbers = torch.arange(self.num_decode, device=device)
        self.num_prompts = 1 + max((span.prompt for span in decode), default=-1)
        self._gather, self._scatter = (x.to(device) for x in _by_prompt([span.prompt for span in decode]))
        self._bias: dict[int | None, Tensor] = {}

    @property
    def position_ids(self) -> Tensor:
        """Absolute position of each token, (1, T)."""
        ranges = [(0, length) for _, length in self.new_prompts]
        ranges += [(span.num_shared + span.start, span.num_tokens) for span in self.chunks]
        device = self.num_own.device
        parts = [torch.arange(start, start + length, device=device) for start, length in ranges]
        return torch.cat([self.num_shared + self.num_own, *parts])[None]

    @property
    def last_tokens(self) -> Tensor:
        """Index in 0..T-1 of the last token of each row: where its next token is drawn."""
        first = self.num_decode + sum(length for _, length in self.new_prompts)
        ends = torch.tensor([span.num_tokens for span in self.chunks], dtype=torch.long).cumsum(0) + first - 1
        return torch.cat([self.row_numbers, ends.to(self.row_numbers.device)])

    def together(self, rows_NHRX: Tensor) -> Tensor:
        """What belongs to the rows of one prompt side by side: (N, H, R, X) -> (G, H, M*R, X), padded."""
        _, heads, repeats, width = rows_NHRX.shape
        padded = rows_NHRX[self._gather].view(self.num_prompts, -1, heads, repeats, width)
        return padded.transpose(1, 2).reshape(self.num_prompts, heads, -1, width)

    def apart(self, prompts_GHMX: Tensor, repeats: int) -> Tensor:
        """The inverse of `together`: (G, H, M*R, X) -> (N, H, R, X)."""
        _, heads, _, width = prompts_GHMX.shape
        split = prompts_GHMX.view(self.num_prompts, heads, -1, repeats, width).transpose(1, 2)
        return split.reshape(-1, heads, repeats, width)[self._scatter]

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Added to the scores of the decode rows, prompt and own, (N, 1, 1, S): -inf at keys not seen.

        A row sees itself and its past, within the sliding window if the layer has one. One bias serves all
        layers with the same window.
        """
        if window not in self._bias:
            device = self.num_own.device
            shared_S = torch.arange(self.prompts.capacity_tokens, device=device)
            own_S = torch.arange(self.rows.capacity_tokens, device=device)
            num_shared, num_own = self.num_shared[:, None], self.num_own[:, None]
            hidden_NS = torch.cat([shared_S >= num_shared, own_S > num_own], dim=1)
            if window is not None:
                distance_NS = torch.cat([num_shared + num_own - shared_S, num_own - own_S], dim=1)
                hidden_NS |= distance_NS >= window
            bias_NS = torch.zeros(hidden_NS.shape, dtype=dtype, device=device)
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
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls: (1, heads, T, D) in, (1, T, heads, D) out."""
    assert attention_mask is None, "rows have no padding to mask"
    assert dropout == 0.0, "generation has no dropout"
    if softcap is not None or s_aux is not None:
        raise ConfigError(
            'engine.kind = "torch" knows no soft cap and no sinks of attention, which this model has: '
            'set it to "vllm", or give another model.base'
        )
    layout, layer_index = cache_layout, module.layer_idx
    assert isinstance(layer_index, int)
    rows = layout.rows.layer(layer_index, key, value)
    prompts = layout.prompts.layer(layer_index, key, value)
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))  # (T, heads, D)
    out = query.new_empty(*query.shape[:2], value.shape[2])
    first = layout.num_decode
    for prompt, length in layout.new_prompts:
        tokens, first = slice(first, first + length), first + length
        _write(prompts, prompt, 0, key[tokens], value[tokens])
        out[tokens] = _prefill(query[tokens], _read(prompts, prompt, length), scaling, sliding_window)
    for row, span in enumerate(layout.chunks, start=layout.num_decode):
        tokens, first = slice(first, first + span.num_tokens), first + span.num_tokens
        _write(rows, row, span.start, key[tokens], value[tokens])
        shared, own = (
            _read(prompts, span.prompt, span.num_shared),
            _read(rows, row, span.start + span.num_tokens),
        )
        past = (torch.cat([shared[0], own[0]], dim=2), torch.cat([shared[1], own[1]], dim=1))
        out[tokens] = _prefill(query[tokens], past, scaling, sliding_window)
    if layout.num_decode:
        decoded = slice(0, layout.num_decode)
        rows[0][layout.row_numbers, :, :, layout.num_own] = key[decoded]
        rows[1][layout.row_numbers, :, layout.num_own] = value[decoded]
        out[decoded] = _decode(query[decoded], rows, prompts, layout, scaling, sliding_window)
    return out[None], None


AttentionInterface.register(CACHED_ATTENTION, cached_attention)


def _decode(
    query: Tensor,
    rows: tuple[Tensor, Tensor],
    prompts: tuple[Tensor, Tensor],
    layout: CacheLayout,
    scaling: float,
    window: int | None,
) -> Tensor:
    """One query per row, (N, H*R, D) -> (N, H*R, D).

    The R query heads of a kv head stand in the place of query positions, so that keys are read once.
    """
    num_rows, num_heads, head_dim = query.shape
    own_keys, own_values = (x[:num_rows] for x in rows)
    shared_keys, shared_values = (x[: layout.num_prompts] for x in prompts)
    query_NHRD = query.reshape(num_rows, own_keys.shape[1], -1, head_dim) * scaling
    repeats = query_NHRD.shape[2]
    shared_NHRS = layout.apart(layout.together(query_NHRD) @ shared_keys, repeats)
    scores_NHRS = torch.cat([shared_NHRS, query_NHRD @ own_keys], dim=3)
    scores_NHRS += layout.bias(window, query.dtype)
    probs_NHRS, num_shared = scores_NHRS.softmax(dim=3), shared_keys.shape[3]
    out_NHRD = probs_NHRS[..., num_shared:] @ own_values
    out_NHRD += layout.apart(layout.together(probs_NHRS[..., :num_shared]) @ shared_values, repeats)
    return out_NHRD.reshape(num_rows, num_heads, -1)


def _prefill(query: Tensor, past: tuple[Tensor, Tensor], scaling: float, window: int | None) -> Tensor:
    """The last Q positions of a sequence, (Q, H*R, D), over its keys (H, D, S) and values (H, S, D)."""
    keys, values = past
    num_queries, num_heads, head_dim = query.shape
    kv_heads, num_keys = values.shape[0], values.shape[1]
    repeats = num_heads // kv_heads
    mask = None
    if num_queries < num_keys or (window is not None and window < num_keys):
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
        mask = mask.tril(num_keys - num_queries)
        if window is not None:
            mask = mask.triu(num_keys - num_queries - window + 1)
    out = scaled_dot_product_attention(
        query.transpose(0, 1).reshape(kv_heads, repeats, num_queries, head_dim),
        keys.transpose(1, 2).contiguous()[:, None].expand(-1, repeats, -1, -1),
        values[:, None].expand(-1, repeats, -1, -1),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    return out.reshape(num_heads, num_queries, -1).transpose(0, 1)


def _write(cache: tuple[Tensor, Tensor], row: int, start: int, key: Tensor, value: Tensor) -> None:
    """Put the keys and values (Q, H, D) of a row's positions from `start` on."""
    end = start + len(key)
    cache[0][row, :, :, start:end] = key.permute(1, 2, 0)
    cache[1][row, :, start:end] = value.transpose(0, 1)


def _read(cache: tuple[Tensor, Tensor], row: int, length: int) -> tuple[Tensor, Tensor]:
    """Views of the first `length` positions of a row, keys (H, D, S) and values (H, S, D)."""
    return cache[0][row, :, :, :length], cache[1][row, :, :length]


def _by_prompt(prompt_of_row: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Index of `CacheLayout.together`, (G*M,), padded with row 0, and that of its inverse, (N,)."""
    members: list[list[int]] = [[] for _ in range(1 + max(prompt_of_row, default=-1))]
    for row, prompt in enumerate(prompt_of_row):
        members[prompt].append(row)
    most = max(map(len, members), default=0)
    gather = [row for rows in members for row in rows + [0] * (most - len(rows))]
    scatter = [0] * len(prompt_of_row)
    for prompt, rows in enumerate(members):
        for place, row in enumerate(rows):
            scatter[row] = prompt * most + place
    return torch.tensor(gather, dtype=torch.long), torch.tensor(scatter, dtype=torch.long)
