"""Packed attention on a GPU: one variable-length flash kernel for all segments of a row.

A branch's keys are its prompt's and its own, gathered; causality is aligned at the last key, so that its
first query sees the whole prompt. Gathering copies a prompt's keys once per branch, which is little: keys
have fewer heads than queries, and prompts are short beside what is written after them. Backward adds the
copies' gradients up again, as that of any gather.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from torch import Tensor

from rstar2.models.packed_layout import PackedLayout, Spans, spans

VarlenKernel = Callable[[Tensor, Tensor, Tensor, Spans, float], Tensor]
"""(query (N, heads, D), key (K, kv_heads, D), value (K, kv_heads, D), spans, scaling) -> (N, heads, D)."""


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float
) -> Tensor:
    """(1, heads, N, head_dim), in value's type, which is a half precision one."""
    kernel, of = varlen_kernel(), spans(layout, query.device)
    assert kernel is not None
    query, key, value = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    if of.key_index_K is not None:
        key, value = key.index_select(0, of.key_index_K), value.index_select(0, of.key_index_K)
    return kernel(query, key, value, of, scaling).transpose(0, 1)[None]


@cache
def varlen_kernel() -> VarlenKernel | None:
    """FlashAttention of its own package where that is installed, else torch's; None if neither is there."""
    if find_spec("flash_attn"):
        return _flash_attn_kernel
    return _torch_kernel if find_spec("torch.nn.attention.varlen") else None


def _flash_attn_kernel(query: Tensor, key: Tensor, value: Tensor, of: Spans, scaling: float) -> Tensor:
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

    out: Tensor = flash_attn_varlen_func(
        query,
        key,
        value,
        of.query_starts_S1,
        of.key_starts_S1,
        of.longest_query,
        of.longest_key,
        softmax_scale=scaling,
        causal=True,
    )
    return out


def _torch_kernel(query: Tensor, key: Tensor, value: Tensor, of: Spans, scaling: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(
        query,
        key,
        value,
        of.query_starts_S1,
        of.key_starts_S1,
        of.longest_query,
        of.longest_key,
        scale=scaling,
        window_size=(-1, 0),  # causal, aligned at the last key
        enable_gqa=True,
    )
    assert isinstance(out, Tensor)
    return out
