"""Where tensors are born: train samples become packed micro-batches of at most so many tokens.

Samples of one group that land in one micro-batch share one copy of their prompt, which counts once against
the budget. Groups stay together where they fit. No token is dropped, and none is padding.

Shape suffixes: N packed tokens, T targets of the loss among them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress

import torch
from torch import Tensor

from rstar2.models.packed_attention import Family, PackedLayout
from rstar2.types import TrainSample

_Members = tuple[int, ...]
"""Indices of samples that share a prompt; a single one if it shares none."""


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
    for families in _fill(samples, micro_batch_tokens):
        yield _assemble(samples, families, device)


def _shared_length(sample: TrainSample) -> int:
    return sample.prompt_length if sample.group_id else 0


def _families(samples: Sequence[TrainSample]) -> list[_Members]:
    """Samples by shared prompt, in order of first appearance."""
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        alone = -1 if _shared_length(sample) else index
        members[sample.group_id, alone].append(index)
    for first, *others in members.values():
        prompt = samples[first].token_ids[: _shared_length(samples[first])]
        assert all(samples[o].token_ids[: _shared_length(samples[o])] == prompt for o in others)
    return [tuple(m) for m in members.values()]


def _num_tokens(samples: Sequence[TrainSample], family: _Members) -> int:
    """Packed length, the shared prompt counted once."""
    shared = _shared_length(samples[family[0]])
    return shared + sum(len(samples[i].token_ids) - shared for i in family)


def _fill(samples: Sequence[TrainSample], budget: int) -> Iterator[list[_Members]]:
    """Families of each micro-batch; a family is split only if it is larger than the budget by itself."""
    batch: list[_Members] = []
    room = budget
    for family in (part for whole in _families(samples) for part in _parts(samples, whole, budget)):
        num_tokens = _num_tokens(samples, family)
        if batch and num_tokens > room:
            yield batch
            batch, room = [], budget
        batch.append(family)
        room -= num_tokens
    if batch:
        yield batch


def _parts(samples: Sequence[TrainSample], family: _Members, budget: int) -> Iterator[_Members]:
    """Cut a family into the fewest runs that fit, each with a copy of the prompt."""
    part: _Members = ()
    for index in family:
        if part and _num_tokens(samples, (*part, index)) > budget:
            yield part
            part = ()
        part = (*part, index)
    yield part


def _assemble(
    samples: Sequence[TrainSample], families: list[_Members], device: torch.device | None
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
        shared = _shared_length(family[0])
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
