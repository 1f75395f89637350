"""Rows grow, shrink and move without losing what they hold."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.models.row_cache import RowCache

KV_HEADS, HEAD_DIM = 2, 5


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 200)), min_size=1, max_size=8),
    st.sampled_from([0, 300, 2000]),
)
def test_resizing_keeps_what_the_rows_hold(sizes: list[tuple[int, int]], room_tokens: int) -> None:
    """Whatever the order of growth and shrinking, the first 3 positions of row 0 survive."""
    cache = RowCache(room_tokens)
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


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 400)), min_size=1, max_size=20))
def test_what_stays_within_the_room_is_allocated_within_it(sizes: list[tuple[int, int]]) -> None:
    """Two layers, and the spare of one tensor more."""
    cache = RowCache(1500)
    like = torch.zeros(1, KV_HEADS, 1, HEAD_DIM)
    for num_rows, longest in sizes:
        if cache.holds(num_rows, longest):
            cache.fit(num_rows, longest)
            layers = [cache.layer(index, like, like) for index in range(2)]
            tensors = [x for layer in layers for x in layer] + [x for x in [cache._spare] if x is not None]
            num_positions = [x.untyped_storage().nbytes() // (4 * KV_HEADS * HEAD_DIM) for x in tensors]
            assert sum(num_positions) <= 5 * 1500
            assert max(num_positions) <= 1500


def test_rows_of_the_longest_are_held_within_the_room_and_one_always_is() -> None:
    """In multiples of 32: 65 positions take 96."""
    cache = RowCache(300)
    assert [cache.holds(num_rows, 65) for num_rows in (1, 3, 4)] == [True, True, False]
    assert [cache.holds(num_rows, 301) for num_rows in (1, 2)] == [True, False]


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
