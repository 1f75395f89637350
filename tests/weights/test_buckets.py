import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.weights.buckets import Manifest, checksum, fold, layouts_of, packed, unpacked

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8)
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def words(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64).view(torch.uint8)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(SHAPES, st.sampled_from(DTYPES)), max_size=9),
    st.integers(1, 300),
)
def test_unpacking_what_was_packed_gives_the_same_tensors(
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype]], bucket_bytes: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randint(0, 200, shape, generator=generator).to(dtype)
        for name, (shape, dtype) in kinds.items()
    }
    layouts = layouts_of(weights, bucket_bytes=bucket_bytes)
    found = {}
    for layout in layouts:
        assert layout.num_bytes <= bucket_bytes + 15 or len(layout.slots) == 1
        found |= dict(unpacked(layout, packed(layout, weights)))
    assert list(found) == sorted(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert [found[name].dtype for name in weights] == [weights[name].dtype for name in weights]


def test_a_tensor_that_is_larger_than_a_bucket_goes_alone() -> None:
    weights = {"a": torch.zeros(3), "b": torch.zeros(100), "c": torch.zeros(2), "d": torch.zeros(2)}
    layouts = layouts_of(weights, bucket_bytes=64)
    assert [[slot.name for slot in layout.slots] for layout in layouts] == [["a"], ["b"], ["c", "d"]]
    assert [layout.num_bytes for layout in layouts] == [16, 400, 32]


def test_tensors_in_any_order_of_memory_are_packed_by_value() -> None:
    weights = {"t": torch.arange(6.0).reshape(2, 3).T}
    (layout,) = layouts_of(weights, bucket_bytes=64)
    assert dict(unpacked(layout, packed(layout, weights)))["t"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_fold_is_the_plain_and_the_weighted_sum_of_the_words() -> None:
    assert fold(words(5, 7)) == (12, 5 + 2 * 7)
    assert fold(words(-1, 3)) == (2, 5), "words are taken modulo 2^64"
    assert fold(words()) == (0, 0)


@pytest.mark.parametrize("row_words", [1, 5, 17, 1024])
def test_a_fold_does_not_depend_on_how_it_is_summed(row_words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstar2.weights.buckets._ROW_WORDS", row_words)
    values = [2**62 + 3 * i for i in range(17)]
    weighted = sum(i * value for i, value in enumerate(values, start=1))
    assert fold(words(*values)) == (sum(values) % 2**64, weighted % 2**64)


@given(st.integers(0, 79), st.integers(1, 255))
def test_any_changed_byte_changes_the_fold(place: int, by: int) -> None:
    buffer = torch.arange(80, dtype=torch.uint8)
    before = fold(buffer)
    buffer[place] += by
    assert fold(buffer) != before


def test_words_that_change_places_change_the_fold() -> None:
    assert fold(words(1, 2, 3)) != fold(words(2, 1, 3))


def test_the_checksum_is_of_names_shapes_and_types_too() -> None:
    zeros = torch.zeros(2, 3)
    versions = [{"a": zeros}, {"b": zeros}, {"a": zeros.T}, {"a": zeros.int()}, {"a": zeros + 1}]
    sums = set()
    for weights in versions:
        layouts = layouts_of(weights, bucket_bytes=64)
        sums.add(checksum(layouts, [fold(packed(layout, weights)) for layout in layouts]))
    assert len(sums) == len(versions)


def test_a_manifest_survives_its_text() -> None:
    weights = {"a": torch.zeros(2, 3), "b": torch.zeros(()), "c": torch.zeros(4).bfloat16()}
    manifest = Manifest(layouts=layouts_of(weights, bucket_bytes=20), checksum="12")
    assert Manifest.from_json(manifest.to_json()) == manifest
