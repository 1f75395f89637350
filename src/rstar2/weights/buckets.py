"""Weights as a few flat buffers: what is broadcast, and the checksum that both sides compute.

    tensors by name -- layouts_of, packed --> buckets of bytes -- unpacked --> the same tensors

A bucket holds whole tensors, each at a multiple of 16 bytes. Buffers are uint8 tensors of one dimension, on
any device; their length is a multiple of 16 as well.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

_ALIGNMENT_BYTES = 16
_ROW_WORDS = 1024
Fold: TypeAlias = tuple[int, int]
"""128 bits of a bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One tensor's place in a bucket."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """By torch's name for it: bfloat16."""
    start: int
    """Bytes before it."""
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is where in one bucket."""

    slots: tuple[Slot, ...]
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a version consists of: enough to receive it, and to know that it arrived."""

    layouts: tuple[Layout, ...]
    checksum: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        data = json.loads(text)
        layouts = (
            Layout(
                slots=tuple(Slot(**slot | {"shape": tuple(slot["shape"])}) for slot in layout["slots"]),
                num_bytes=layout["num_bytes"],
            )
            for layout in data["layouts"]
        )
        return cls(layouts=tuple(layouts), checksum=data["checksum"])


def layouts_of(weights: Mapping[str, Tensor], *, bucket_bytes: int) -> tuple[Layout, ...]:
    """In the order of the names; a tensor that is larger than a bucket has one of its own."""
    layouts: list[Layout] = []
    slots: list[Slot] = []
    end = 0
    for name in sorted(weights):
        tensor = weights[name]
        if slots and end + tensor.nbytes > bucket_bytes:
            layouts.append(Layout(slots=tuple(slots), num_bytes=end))
            slots, end = [], 0
        dtype = str(tensor.dtype).removeprefix("torch.")
        slots.append(
            Slot(name=name, shape=tuple(tensor.shape), dtype=dtype, start=end, num_bytes=tensor.nbytes)
        )
        end += -(-tensor.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return (*layouts, Layout(slots=tuple(slots), num_bytes=end)) if slots else tuple(layouts)


def packed(layout: Layout, weights: Mapping[str, Tensor]) -> Tensor:
    """A copy of the bucket's tensors in host memory; the gaps are 0."""
    buffer = torch.zeros(layout.num_bytes, dtype=torch.uint8)
    for name, tensor in unpacked(layout, buffer):
        tensor.copy_(weights[name].detach())
    return buffer


def unpacked(layout: Layout, buffer: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Views of the buffer."""
    for slot in layout.slots:
        part = buffer[slot.start : slot.start + slot.num_bytes]
        yield slot.name, part.view(getattr(torch, slot.dtype)).view(slot.shape)


def fold(buffer: Tensor) -> Fold:
    """With the buffer's 64-bit words w_1 ... w_n: (sum w_i, sum i w_i) modulo 2^64.

    Integers, so every device and every order of summation gives the same, at the speed of memory where
    SHA-256 would take seconds per GB. The first sum finds any change of one word, the second words that have
    changed places; other accidents go unnoticed about once in 2^64. It is no protection against intent.

    Summed by rows of C words first, as i = C r + c + 1 for word c of row r: no product is as large as the
    buffer.
    """
    words = buffer.view(torch.int64)
    rest = len(words) % _ROW_WORDS
    grid, tail = words[: len(words) - rest].view(-1, _ROW_WORDS), words[len(words) - rest :]
    of_rows, of_columns = grid.sum(dim=1), grid.sum(dim=0)
    plain = of_rows.sum() + tail.sum()
    weighted = (
        _ROW_WORDS * _weighted(of_rows, first=0)
        + _weighted(of_columns, first=1)
        + _weighted(tail, first=len(words) - rest + 1)
    )
    return int(plain) % 2**64, int(weighted) % 2**64


def _weighted(words: Tensor, *, first: int) -> Tensor:
    """The sum of the words times first, first + 1, ...; torch's integers wrap, as they should here."""
    return (words * torch.arange(first, first + len(words), device=words.device)).sum()


def checksum(layouts: Sequence[Layout], folds: Sequence[Fold]) -> str:
    """SHA-256 over names, shapes, types and places, and the fold of each bucket in turn."""
    described = json.dumps([[asdict(layout) for layout in layouts], folds])
    return hashlib.sha256(described.encode()).hexdigest()
