"""Where tensors are born: train samples become packed micro-batches, one row of tokens each.

Which samples lie in which is decided in `filling`. No token is dropped, and none is padding.

Shape suffixes: N packed tokens, T targets of the loss among them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress

import torch
from torch import Tensor

from rstar2.learner.filling import Members, fill, shared_length
from rstar2.models.packed_layout import Family, PackedLayout
from rstar2.types import TrainSample


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward and backward pass computes."""

    token_ids_N: Tensor
    positions_N: Tensor
    """Place of each token in its own sequence; branches continue after their prompt."""
    layout: PackedLayout
    source_T: Tensor
    """Packed index of the token whose hidden state predicts the target: the one before it in its sequence."""
    target_T: Tensor
    """Token ids to be predicted, sample after sample."""
    sampled_logprobs_T: Tensor
    advantages_T: Tensor
    sample_indices: tuple[int, ...]
    """Which of the packed samples are in here, in the order of the targets."""
    target_counts: tuple[int, ...]
    """Number of targets of each of them."""

    def split(self, values_T: Tensor) -> dict[int, Tensor]:
        """Values of the targets, by sample index."""
        return dict(zip(self.sample_indices, torch.split(values_T, list(self.target_counts)), strict=True))


def pack(
    samples: Sequence[TrainSample], *, micro_batch_tokens: int, device: torch.device | None = None
) -> Iterator[MicroBatch]:
    """Fill micro-batches group after group; a sample longer than the budget gets one of its own."""
    for families in fill(samples, micro_batch_tokens):
        yield assemble(samples, families, device)


def assemble(
    samples: Sequence[TrainSample], families: Sequence[Members], device: torch.device | None
) -> MicroBatch:
    """Lay the families end to end and list their targets."""
    row = _Row()
    layout = PackedLayout(families=tuple(row.append([samples[i] for i in family]) for family in families))
    members = tuple(chain.from_iterable(families))
    counts = tuple(sum(samples[i].loss_mask) for i in members)
    targets = [t for i in members for t in compress(samples[i].token_ids, samples[i].loss_mask)]
    logprobs = [p for i in members for p in compress(samples[i].logprobs, samples[i].loss_mask)]
    advantages = torch.tensor([samples[i].advantage for i in members])
    return MicroBatch(
        token_ids_N=torch.tensor(row.token_ids, device=device),
        positions_N=torch.tensor(row.positions, device=device),
        layout=layout,
        source_T=torch.tensor(row.sources, device=device),
        target_T=torch.tensor(targets, device=device),
        sampled_logprobs_T=torch.tensor(logprobs, device=device),
        advantages_T=advantages.repeat_interleave(torch.tensor(counts)).to(device),
        sample_indices=members,
        target_counts=counts,
    )


@dataclass(slots=True)
class _Row:
    """The packed row as it grows."""

    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def append(self, family: Sequence[TrainSample]) -> Family:
        """Add a prompt once and every branch; returns where they lie."""
        shared = shared_length(family[0])
        prompt = self._extend(family[0].token_ids[:shared], first_position=0)
        branches = []
        for sample in family:
            branch = self._extend(sample.token_ids[shared:], first_position=shared)
            packed_index = [*range(prompt.start, prompt.stop), *range(branch.start, branch.stop)]
            self.sources += compress(packed_index, sample.loss_mask[1:])  # predicted by the token before
            branches.append(branch)
        return Family(prompt=prompt, branches=tuple(branches))

    def _extend(self, token_ids: Sequence[int], *, first_position: int) -> slice:
        start = len(self.token_ids)
        self.token_ids += token_ids
        self.positions += range(first_position, first_position + len(token_ids))
        return slice(start, len(self.token_ids))
