import torch
from torch import Tensor

from rstar2.models.loading import build_tiny
from rstar2.models.packed_attention import (
    Family,
    PackedLayout,
    _PackedFlash,
    reference_attention,
    use_packed_attention,
)

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
    fast = _PackedFlash.apply(*inputs, LAYOUT, HEAD_DIM**-0.5)
    plain = reference_attention(*inputs, LAYOUT, HEAD_DIM**-0.5)
    torch.testing.assert_close(fast, plain, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(gradients(fast, inputs), gradients(plain, inputs), atol=3e-6, rtol=3e-6)


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
