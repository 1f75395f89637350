from itertools import pairwise

import pytest
import torch
from torch import Tensor

from rstar2.models import varlen_attention
from rstar2.models.loading import build_tiny
from rstar2.models.packed_attention import (
    attention_of,
    cpu_attention,
    reference_attention,
    use_packed_attention,
)
from rstar2.models.packed_layout import Family, PackedLayout, Spans, spans

HEADS, KV_HEADS, HEAD_DIM = 6, 3, 10
LAYOUT = PackedLayout(
    families=(
        Family(prompt=slice(0, 7), branches=(slice(7, 12), slice(12, 13), slice(13, 24))),
        Family(prompt=slice(24, 24), branches=(slice(24, 29),)),
        Family(prompt=slice(29, 30), branches=(slice(30, 33), slice(33, 37))),
    )
)
SEQUENCES = [
    [*range(7), *range(7, 12)],
    [*range(7), 12],
    [*range(7), *range(13, 24)],
    [*range(24, 29)],
    [29, *range(30, 33)],
    [29, *range(33, 37)],
]
"""Packed indices of each whole sequence in `LAYOUT`."""


def random_inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(  # type: ignore[return-value]
        torch.randn(1, heads, 37, HEAD_DIM, generator=generator).requires_grad_()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((out * weights).sum(), inputs)


def test_joined_flash_calls_equal_the_reference_in_value_and_gradient() -> None:
    inputs = random_inputs()
    fast = cpu_attention(*inputs, LAYOUT, HEAD_DIM**-0.5)
    plain = reference_attention(*inputs, LAYOUT, HEAD_DIM**-0.5)
    torch.testing.assert_close(fast, plain, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(gradients(fast, inputs), gradients(plain, inputs), atol=3e-6, rtol=3e-6)


def plain_kernel(query: Tensor, key: Tensor, value: Tensor, of: Spans, scaling: float) -> Tensor:
    """What variable-length flash kernels compute: causal, aligned at each sequence's last key."""
    out = torch.empty_like(query)
    groups = query.shape[1] // key.shape[1]
    starts = zip(pairwise(of.query_starts_S1.tolist()), pairwise(of.key_starts_S1.tolist()), strict=True)
    for (q_start, q_stop), (k_start, k_stop) in starts:
        assert q_stop - q_start <= of.longest_query
        assert k_stop - k_start <= of.longest_key
        q = query[q_start:q_stop].transpose(0, 1)
        k, v = (x[k_start:k_stop].transpose(0, 1).repeat_interleave(groups, dim=0) for x in (key, value))
        hidden = torch.ones(q.shape[1], k.shape[1]).triu(1 + k.shape[1] - q.shape[1])
        scores = (q @ k.mT * scaling).masked_fill(hidden.bool(), float("-inf"))
        out[q_start:q_stop] = (scores.softmax(-1) @ v).transpose(0, 1)
    return out


def test_one_variable_length_call_equals_the_reference_in_value_and_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(varlen_attention, "varlen_kernel", lambda: plain_kernel)
    inputs = random_inputs()
    ours = varlen_attention.varlen_attention(*inputs, LAYOUT, HEAD_DIM**-0.5)
    plain = reference_attention(*inputs, LAYOUT, HEAD_DIM**-0.5)
    torch.testing.assert_close(ours, plain, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(gradients(ours, inputs), gradients(plain, inputs), atol=3e-6, rtol=3e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash kernels run on GPUs only")
def test_the_gpu_kernel_is_the_plain_one_in_half_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, 37, 64, generator=generator).cuda().requires_grad_() for heads in (6, 3, 3)
    )
    half = [x.detach().bfloat16().requires_grad_() for x in (query, key, value)]
    ours = varlen_attention.varlen_attention(*half, LAYOUT, 0.125)
    plain = reference_attention(query, key, value, LAYOUT, 0.125)
    torch.testing.assert_close(ours.float(), plain, atol=2e-2, rtol=2e-2)
    for mine, other in zip(
        torch.autograd.grad(ours.float().square().sum(), half),
        torch.autograd.grad(plain.square().sum(), (query, key, value)),
        strict=True,
    ):
        assert torch.cosine_similarity(mine.float().flatten(), other.flatten(), dim=0) > 0.999


def test_keys_are_gathered_only_where_prompts_are_shared() -> None:
    alone = PackedLayout(families=(Family(prompt=slice(0, 0), branches=(slice(0, 4),)),))
    assert spans(alone, torch.device("cpu")).key_index_K is None
    shared = spans(LAYOUT, torch.device("cpu"))
    assert shared.query_starts_S1.tolist() == [0, 7, 12, 13, 24, 29, 30, 33, 37]
    assert shared.key_starts_S1.tolist() == [0, 7, 7 + 12, 19 + 8, 27 + 18, 45 + 5, 50 + 1, 51 + 4, 55 + 5]
    assert (shared.longest_query, shared.longest_key) == (11, 18)


def test_gpus_take_the_flash_kernel_in_half_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention_of("cpu", torch.bfloat16) is cpu_attention
    assert attention_of("cuda", torch.bfloat16) is varlen_attention.varlen_attention
    assert attention_of("cuda", torch.float32) is reference_attention
    monkeypatch.setattr("rstar2.models.packed_attention.varlen_kernel", lambda: None)
    assert attention_of("cuda", torch.bfloat16) is reference_attention


def test_a_model_sees_packed_sequences_as_if_each_were_alone() -> None:
    model = build_tiny(
        vocab_size=97, hidden_size=30, num_layers=2, num_heads=HEADS, num_kv_heads=KV_HEADS,
        head_dim=HEAD_DIM, mlp_size=53, max_positions=64, seed=0,
    )  # fmt: skip
    token_ids = torch.randint(97, (37,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = [model(input_ids=token_ids[None, s]).logits[0] for s in SEQUENCES]
        use_packed_attention(model)
        positions = torch.empty(37, dtype=torch.long)
        for sequence in SEQUENCES:
            positions[sequence] = torch.arange(len(sequence))
        packed = model(
            input_ids=token_ids[None], position_ids=positions[None], layout=LAYOUT, use_cache=False
        ).logits[0]
    for sequence, logits in zip(SEQUENCES, alone, strict=True):
        torch.testing.assert_close(packed[sequence], logits, atol=1e-5, rtol=1e-5)
