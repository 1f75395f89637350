"""Rows grow, shrink and move without losing what they hold."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.models.row_cache import RowCache

KV_HEADS, HEAD_DIM = 2, 5


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
