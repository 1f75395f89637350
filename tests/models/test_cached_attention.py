"""Rows: growth, moves, and what the layout says. Numbers against uncached models: tests/engines."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rstar2.models.cached_attention import CacheLayout, Chunk, RowCache, cached_attention

CPU = torch.device("cpu")
KV_HEADS, REPEATS, HEAD_DIM = 2, 3, 5


def attend(layout: CacheLayout, query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
    module = SimpleNamespace(layer_idx=0)
    out, _ = cached_attention(
        module, query, key, value, None, cache_layout=layout, scaling=0.7, **options  # type: ignore[arg-type]
    )  # fmt: skip
    return out


def by_hand(query: Tensor, key: Tensor, value: Tensor, window: int | None = None) -> Tensor:
    """Causal attention of one sequence, head by head: (heads, T, D) -> (T, heads, D)."""
    num_tokens = query.shape[1]
    distance = torch.arange(num_tokens)[:, None] - torch.arange(num_tokens)
    hidden = (distance < 0) | (distance >= (window or num_tokens))
    heads = []
    for head in range(query.shape[0]):
        scores = 0.7 * query[head] @ key[head // REPEATS].T
        heads.append(scores.masked_fill(hidden, -torch.inf).softmax(1) @ value[head // REPEATS])
    return torch.stack(heads, dim=1)


@pytest.mark.parametrize("window", [None, 4])
def test_chunks_and_decode_steps_equal_attention_by_hand(window: int | None) -> None:
    """Two sequences, of 11 and 7 tokens: chunks of 6 and 3, one more chunk of 2, then decode steps."""
    torch.manual_seed(0)
    lengths = (11, 7)
    sequences = [
        [torch.randn(1, heads, length, HEAD_DIM) for heads in (KV_HEADS * REPEATS, KV_HEADS, KV_HEADS)]
        for length in lengths
    ]
    expected = [by_hand(*(x[0] for x in sequence), window) for sequence in sequences]
    cache = RowCache()
    cache.fit(2, 11)

    def step(spans: list[tuple[int, int, int]], num_decode: int) -> None:
        """Spans are (row, start, stop)."""
        chunks = [Chunk(row=r, start=a, num_tokens=b - a) for r, a, b in spans[num_decode:]]
        layout = CacheLayout(cache, [a for _, a, _ in spans[:num_decode]], chunks, CPU)
        parts = [torch.cat([sequences[r][i][:, :, a:b] for r, a, b in spans], dim=2) for i in range(3)]
        wanted = torch.cat([expected[r][a:b] for r, a, b in spans])
        torch.testing.assert_close(attend(layout, *parts, sliding_window=window)[0], wanted)

    step([(0, 0, 6), (1, 0, 3)], num_decode=0)
    step([(0, 6, 7), (1, 3, 5)], num_decode=1)
    for offset in range(2):
        step([(0, 7 + offset, 8 + offset), (1, 5 + offset, 6 + offset)], num_decode=2)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 200)), min_size=1, max_size=8))
def test_resizing_keeps_what_the_rows_hold(sizes: list[tuple[int, int]]) -> None:
    """Whatever the order of growth and shrinking, the first 3 positions of row 0 survive."""
    cache = RowCache()
    cache.fit(1, 3)
    key, value = torch.randn(1, KV_HEADS, 1, HEAD_DIM), torch.randn(1, KV_HEADS, 1, 7)
    cache.layer(0, key, value)
    prefix = ((torch.randn(KV_HEADS, HEAD_DIM, 3), torch.randn(KV_HEADS, 3, 7)),)
    cache.write(0, prefix, 3)
    for num_rows, longest in sizes:
        cache.fit(num_rows, max(3, longest))
        keys, values = cache.layer(0, key, value)
        assert keys.shape[0] >= num_rows
        assert longest <= keys.shape[3] == values.shape[2]
        assert keys.is_contiguous()
        assert values.is_contiguous()
        for kept, original in zip(cache.read(0, 3)[0], prefix[0], strict=True):
            assert torch.equal(kept, original)


def test_rows_shrink_only_when_that_spares_a_quarter() -> None:
    cache = RowCache()
    cache.fit(1, 320)
    cache.fit(1, 270)
    assert cache.capacity_tokens == 320
    cache.fit(1, 224)
    assert cache.capacity_tokens == 224


def test_a_moved_row_reads_as_its_source() -> None:
    cache = RowCache()
    cache.fit(3, 8)
    cache.layer(0, torch.zeros(1, KV_HEADS, 1, HEAD_DIM), torch.zeros(1, KV_HEADS, 1, HEAD_DIM))
    prefix = ((torch.randn(KV_HEADS, HEAD_DIM, 8), torch.randn(KV_HEADS, 8, HEAD_DIM)),)
    cache.write(2, prefix, 8)
    cache.move(2, 0, 8)
    for moved, original in zip(cache.read(0, 8)[0], prefix[0], strict=True):
        assert torch.equal(moved, original)


def test_the_layout_knows_positions_and_last_tokens() -> None:
    layout = CacheLayout(RowCache(), [4, 9], [Chunk(row=2, start=3, num_tokens=3)], CPU)
    assert layout.position_ids.tolist() == [[4, 9, 3, 4, 5]]
    assert layout.last_tokens.tolist() == [0, 1, 4]


def test_a_model_that_soft_caps_its_scores_is_refused() -> None:
    layout = CacheLayout(RowCache(), [0], [], CPU)
    x = torch.zeros(1, 2, 1, HEAD_DIM)
    with pytest.raises(NotImplementedError, match="soft cap"):
        attend(layout, x, x, x, softcap=30.0)
