"""How sequences that share prompts lie in one packed row, and how that looks to variable-length kernels.

    [prompt A][branch A1][branch A2][branch A3] [prompt B][branch B1][branch B2] [sequence C]
     segment   segment    segment    segment     ...

Every segment attends itself causally, and every branch also all of its prompt.

Shape suffixes: S segments, K keys of all of them, one after another.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A prompt and the branches that continue it; consecutive, the prompt first."""

    prompt: slice
    """Empty for a sequence that shares nothing: then it is a single branch."""
    branches: tuple[slice, ...]

    @property
    def all_branches(self) -> slice:
        """The tokens of all branches: one contiguous range."""
        return slice(self.branches[0].start, self.branches[-1].stop)

    @property
    def shares(self) -> bool:
        return bool(self.prompt.stop > self.prompt.start)

    @property
    def segments(self) -> tuple[slice, ...]:
        """All ranges that attend themselves causally."""
        return (self.prompt, *self.branches) if self.shares else self.branches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedLayout:
    """Which token attends which; the families tile the row."""

    families: tuple[Family, ...]

    @property
    def longest_sequence(self) -> int:
        """Tokens of a prompt and its longest branch."""
        return max(_length(f.prompt) + _length(branch) for f in self.families for branch in f.branches)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans:
    """A layout as sequences of queries, each with the keys before its last ones: a prompt's keys are listed
    again for every branch, which attends them and then itself."""

    query_starts_S1: Tensor
    """Where each segment's queries begin, and where the last one's end; int32."""
    key_starts_S1: Tensor
    key_index_K: Tensor | None
    """Packed index of each key; None if they are the row as it is, because no prompt is shared."""
    longest_query: int
    longest_key: int


@lru_cache(maxsize=1)
def spans(layout: PackedLayout, device: torch.device) -> Spans:
    """Made once per micro-batch, for all layers and for backward."""
    pairs = [
        (segment, slice(0, 0) if segment is family.prompt else family.prompt)
        for family in layout.families
        for segment in family.segments
    ]
    index = [
        i for segment, context in pairs for part in (context, segment) for i in range(part.start, part.stop)
    ]
    queries = [_length(segment) for segment, _ in pairs]
    keys = [_length(context) + _length(segment) for segment, context in pairs]
    is_plain = not any(family.shares for family in layout.families)
    return Spans(
        query_starts_S1=torch.tensor([0, *accumulate(queries)], dtype=torch.int32, device=device),
        key_starts_S1=torch.tensor([0, *accumulate(keys)], dtype=torch.int32, device=device),
        key_index_K=None if is_plain else torch.tensor(index, device=device),
        longest_query=max(queries),
        longest_key=max(keys),
    )


def _length(part: slice) -> int:
    return int(part.stop - part.start)
