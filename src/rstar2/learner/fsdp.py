"""The learner on many ranks: parameters, gradients and moments are cut into shards by PyTorch's FSDP2.

One object per rank, and every rank calls every method with the same arguments in the same order: all of them
are collective. Who starts the ranks, and where, is not decided here. The step is the same whatever their
number: its denominator is counted over all samples before they are dealt to the ranks, and gradients are
summed, not averaged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, Unpack

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from rstar2.errors import Rstar2Error
from rstar2.learner.filling import deal
from rstar2.learner.learner import LearnerOptions, TorchLearner
from rstar2.learner.packing import MicroBatch, assemble, pack
from rstar2.learner.sharding import Sharding, shard
from rstar2.types import TrainSample

_FILLER = TrainSample(token_ids=(0, 0), loss_mask=(False, True), logprobs=(0.0, 0.0))
"""Computed for nothing by ranks without work, in rounds in which others have some."""

T = TypeVar("T")


class FsdpLearner(TorchLearner):
    """One rank of a learner. All begin with the first one's model; that of others may be a mere skeleton.

    `micro_batch_tokens` is a rank's. With `bf16`, layers are gathered and compute in bfloat16 while master
    weights, gradient sums, optimizer and softmax stay float32.
    """

    def __init__(self, model: PreTrainedModel, sharding: Sharding, **options: Unpack[LearnerOptions]) -> None:
        self._sharding = sharding
        self._is_bf16 = options.pop("bf16", False)  # layers are cast when they are gathered
        super().__init__(model, **options)

    def _settle(self) -> None:
        weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        buffers = dict(self.model.named_buffers())
        shard(self._policy, self._sharding, bf16=self._is_bf16)
        if self._sharding.num_ranks == 1:
            return
        if self.model.device.type == "meta":
            self.model.to_empty(device=self._sharding.home)
            self.model.tie_weights()
        self._take(weights, self.model.named_parameters())
        of_first = self._from_all_ranks(buffers if self._sharding.rank == 0 else {})[0]
        for name, buffer in self.model.named_buffers():
            buffer.copy_(of_first[name])

    @property
    def _group(self) -> dist.ProcessGroup:
        return self._sharding.group

    def _micro_batches(self, samples: Sequence[TrainSample]) -> Iterator[MicroBatch]:
        """This rank's share; every rank computes in every round, because gathering layers takes all."""
        sharding = self._sharding
        for dealt in deal(samples, self._micro_batch_tokens, num_ranks=sharding.num_ranks):
            if mine := dealt[sharding.rank]:
                yield assemble(samples, mine, sharding.device)
            else:
                self._keep_pace()

    def _keep_pace(self) -> None:
        """A forward, and a backward where there are gradients, that adds nothing to them."""
        (filler,) = pack([_FILLER], micro_batch_tokens=2, device=self._sharding.device)
        logprobs_T, _ = self._policy(filler)
        if logprobs_T.requires_grad:
            torch.autograd.backward(0.0 * logprobs_T.sum())

    def _whole(self, parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """In host memory on the first rank; nothing on the others."""
        weights = {}
        for name, parameter in parameters:
            assert isinstance(parameter, DTensor)
            whole = parameter.full_tensor().detach()  # by all ranks, one parameter at a time
            if self._sharding.rank == 0:
                weights[name] = whole.cpu()
        return weights

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Tensor], parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Only the first rank's weights count."""
        for name, parameter in parameters:
            assert isinstance(parameter, DTensor)
            if self._sharding.rank == 0:
                whole = weights[name].detach().to(parameter.dtype)
            else:  # of the first one's type: what is sent are its bytes
                whole = torch.empty(parameter.shape, dtype=parameter.dtype)
            whole = whole.to(self._sharding.device)
            parameter.copy_(distribute_tensor(whole, self._sharding.mesh, parameter.placements))

    def _from_all_ranks(self, value: T) -> list[T]:
        values: list[T] = [value] * self._sharding.num_ranks
        dist.all_gather_object(values, value, group=self._group)
        return values

    def _on_first_rank(self, work: Callable[[], T]) -> T | None:
        """Its result there, None elsewhere; a failure of the world is raised on all ranks alike."""
        result: T | None = None
        failure: list[Exception | None] = [None]
        if self._sharding.rank == 0:
            try:
                result = work()
            except (Rstar2Error, OSError) as error:
                failure = [error]
        dist.broadcast_object_list(failure, group=self._group, group_src=0)
        if failure[0] is not None:
            raise failure[0]
        return result
