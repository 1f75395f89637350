"""Attention for training on packed sequences that share prompts, registered with transformers.

Many sequences lie end to end in one row of N tokens, without padding. The rollouts of one group begin
with the same prompt; it is stored and computed once, and every branch continues from it:

    [prompt A][branch A1][branch A2][branch A3] [prompt B][branch B1][branch B2] [sequence C]
     segment   segment    segment    segment     ...

Two rules make this exact: every segment attends itself causally, and every branch also attends all of
its prompt. The two softmaxes over disjoint keys are joined by their log-sum-exps:

    lse = log(exp(lse_self) + exp(lse_prompt)),   out = sum_part exp(lse_part - lse) * out_part

and backward needs no more than the usual kernels, because the gradient of flash attention depends on a part
only through the probabilities exp(score - lse) and delta = <grad_out, out>, both taken of the whole.

The layout reaches us through the model's forward **kwargs, so that no model is re-implemented. Which of the
ways to compute this is taken, `attention_of` says; `reference_attention` runs anywhere.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from rstar2.errors import ConfigError
from rstar2.models.packed_layout import PackedLayout
from rstar2.models.varlen_attention import varlen_attention, varlen_kernel

PACKED_ATTENTION = "rstar2_packed"

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def use_packed_attention(model: PreTrainedModel) -> None:
    """Make the model take `layout=PackedLayout` in its forward, with token ids of shape (1, N)."""
    model.set_attn_implementation(PACKED_ATTENTION)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: PackedLayout,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls: (1, heads, N, head_dim) in, (1, N, heads, head_dim) out.

    A sliding window is refused only once a sequence is longer than it: until then it hides nothing.
    """
    assert attention_mask is None, "packed sequences have no padding to mask"
    assert dropout == 0.0, "attention dropout is not supported on packed sequences"
    if softcap is not None or s_aux is not None:
        raise ConfigError(
            "the learner knows no soft cap and no sinks of attention, which this model has: "
            "give another model.base"
        )
    if sliding_window is not None and sliding_window < (longest := layout.longest_sequence):
        raise ConfigError(
            f"this model sees {sliding_window} tokens back, and a sample has {longest}: the learner knows no "
            "sliding window, so lower stages.*.max_response_tokens, or give another model.base"
        )
    attend = attention_of(query.device.type, value.dtype)
    return attend(query, key, value, layout, scaling).transpose(1, 2), None


AttentionInterface.register(PACKED_ATTENTION, packed_attention)


PackedAttention = Callable[[Tensor, Tensor, Tensor, PackedLayout, float], Tensor]
"""(query, key, value, layout, scaling) -> (1, heads, N, head_dim) in value's type.

Under autocast, norms leave float32 queries and keys behind.
"""


def attention_of(device_type: str, dtype: torch.dtype) -> PackedAttention:
    """The fastest exact way: flash kernels on a CPU, variable-length ones on a GPU in half precision.

    GPU kernels know no float32, which is for tests there: it goes sequence by sequence.
    """
    if device_type == "cpu":
        return cpu_attention
    if dtype in (torch.bfloat16, torch.float16) and varlen_kernel() is not None:
        return varlen_attention
    return reference_attention


def cpu_attention(query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float) -> Tensor:
    """In float32 always: the bfloat16 kernel's backward takes twice as long."""
    out: Tensor = _PackedFlash.apply(  # type: ignore[no-untyped-call]
        query.float(), key.float(), value.float(), layout, scaling
    )
    return out.to(value.dtype)


def reference_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float
) -> Tensor:
    """Sequence by sequence, prompt keys copied in front of each branch; (1, heads, N, head_dim)."""
    groups = query.shape[1] // key.shape[1]
    query, key = query.to(value.dtype), key.to(value.dtype)
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    out = torch.empty_like(query)
    for family in layout.families:
        prompt = family.prompt
        for segment in family.segments:
            context = slice(0, 0) if segment is prompt else prompt
            k, v = (torch.cat([x[:, :, context], x[:, :, segment]], dim=2) for x in (key, value))
            num_queries, num_keys = segment.stop - segment.start, k.shape[2]
            visible = torch.ones(num_queries, num_keys, dtype=torch.bool, device=k.device)
            visible = visible.tril(num_keys - num_queries)
            out[:, :, segment] = scaled_dot_product_attention(
                query[:, :, segment], k, v, attn_mask=visible, scale=scaling
            )
    return out


class _PackedFlash(torch.autograd.Function):
    """The same on a CPU, by the flash kernels, without copying a prompt's keys to its branches."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float
    ) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        out = torch.empty_like(query)
        lse = query.new_empty(query.shape[:3], dtype=torch.float32)
        for family in layout.families:
            for at in family.segments:
                q, k, v = query[:, :, at], _repeat(key[:, :, at], groups), _repeat(value[:, :, at], groups)
                out[:, :, at], lse[:, :, at] = _flash(q, k, v, 0.0, True, scale=scaling)
            if family.shares:
                at, of = family.all_branches, family.prompt
                q, k, v = query[:, :, at], _repeat(key[:, :, of], groups), _repeat(value[:, :, of], groups)
                _join(out[:, :, at], lse[:, :, at], *_flash(q, k, v, 0.0, False, scale=scaling))
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.layout, ctx.scaling = layout, scaling
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        groups = query.shape[1] // key.shape[1]
        grad_query, grad_key, grad_value = (torch.empty_like(x) for x in (query, key, value))

        def part(at: slice, of: slice, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            """Gradients of queries `at`, and of keys and values `of`, from this pair of ranges alone."""
            k, v = _repeat(key[:, :, of], groups), _repeat(value[:, :, of], groups)
            mine = (x[:, :, at] for x in (out, lse))
            grad_q, grad_k, grad_v = _flash_backward(
                grad_out[:, :, at], query[:, :, at], k, v, *mine, 0.0, causal, scale=ctx.scaling
            )
            return grad_q, _unrepeat(grad_k, groups), _unrepeat(grad_v, groups)

        for family in ctx.layout.families:
            for at in family.segments:
                grad_query[:, :, at], grad_key[:, :, at], grad_value[:, :, at] = part(at, at, True)
            if family.shares:
                at, of = family.all_branches, family.prompt
                grad_q, grad_k, grad_v = part(at, of, False)
                grad_query[:, :, at] += grad_q
                grad_key[:, :, of] += grad_k
                grad_value[:, :, of] += grad_v
        return grad_query, grad_key, grad_value, None, None


def _repeat(x: Tensor, groups: int) -> Tensor:
    """Key-value heads to query heads: (1, kv_heads, L, D) to (1, kv_heads * groups, L, D)."""
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _unrepeat(grad: Tensor, groups: int) -> Tensor:
    """The adjoint of `_repeat`: sum over the query heads of one key-value head."""
    return grad if groups == 1 else torch.unflatten(grad, 1, (-1, groups)).sum(2)


def _join(out: Tensor, lse: Tensor, other_out: Tensor, other_lse: Tensor) -> None:
    """Fold attention over other keys into `out` (1, heads, L, D) and `lse` (1, heads, L), in place."""
    total = torch.logaddexp(lse, other_lse)
    mine, others = ((part - total).exp().unsqueeze(-1).to(out.dtype) for part in (lse, other_lse))
    out.mul_(mine).addcmul_(other_out, others)
    lse.copy_(total)
