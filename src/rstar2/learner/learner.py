"""The learner in one process: owns the policy's parameters and its optimizer.

An update packs its samples, runs forward and backward per micro-batch, and moves the weights once. The loss
has one token denominator for the whole update, so neither packing nor micro-batching changes the gradient.
What a sample is worth (its advantage) was decided before; which samples exist is not decided here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from statistics import fmean
from typing import Required, TypedDict, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from rstar2.errors import LearnerError
from rstar2.grpo.loss import TokenLoss, likelihood_loss, policy_loss
from rstar2.learner import shard_files
from rstar2.learner.adapters import Lora, add_adapters, merged, read_adapters, write_adapters
from rstar2.learner.optimizer import Optimizers
from rstar2.learner.packing import MicroBatch, pack
from rstar2.learner.policy import Policy, refuse_another_model
from rstar2.learner.tally import Tally, total
from rstar2.models.loading import load_model, save_model
from rstar2.ports import Objective, OptimizerKind, WeightChannel
from rstar2.types import StepReport, TokenScore, TrainSample

T = TypeVar("T")


class LearnerOptions(TypedDict, total=False):
    """What `TorchLearner` takes besides the model, for whoever passes it on."""

    micro_batch_tokens: Required[int]
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    clip_low: float
    clip_high: float
    importance_cap: float | None
    logprob_chunk_tokens: int
    bf16: bool
    lora: Lora | None


class TorchLearner:
    """Implements the `Learner` port for a transformers causal LM; takes the model over.

    With `bf16`, forward and backward run in bfloat16 while parameters, optimizer and softmax stay float32.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        micro_batch_tokens: int,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        grad_clip: float = 1.0,
        clip_low: float = 0.2,
        clip_high: float = 0.28,
        importance_cap: float | None = None,
        logprob_chunk_tokens: int = 2048,
        bf16: bool = False,
        lora: Lora | None = None,
    ) -> None:
        self.model = model
        self._lora = lora
        if lora is not None:
            add_adapters(model, lora)
        self._micro_batch_tokens = micro_batch_tokens
        self._betas, self._weight_decay, self._grad_clip = betas, weight_decay, grad_clip
        self._clip_low, self._clip_high, self._importance_cap = clip_low, clip_high, importance_cap
        self._on_first_rank(lambda: refuse_another_model(model))
        self._policy = Policy(model, logprob_chunk_tokens=logprob_chunk_tokens, autocast_bf16=bf16)
        self._settle()
        self.reset_optimizer()

    def _settle(self) -> None:
        """Bring the parameters to where they will be moved."""

    def reset_optimizer(self, kind: OptimizerKind = OptimizerKind.ADAMW) -> None:
        """Forget the moments: a new stage starts from the weights alone."""
        self._optimizer = Optimizers(self.model, kind, betas=self._betas, weight_decay=self._weight_decay)

    def step(
        self, *shares: Sequence[TrainSample], objective: Objective, lr: float, temperature: float = 1.0
    ) -> StepReport:
        """One update per share of a batch; without any target token nothing happens, and metrics say so.

        The old policy of the loss is the one before the first update:

            update k = 1, 2, ...:  rho_t = pi_k(t) / pi_1(t),  w_t = min(pi_1(t) / mu(t), cap)

        So rho is exactly 1 in the first one. Shares of later ones are scored by pi_1 before it.
        """
        targeted = [[s for s in share if any(s.loss_mask)] for share in shares]
        first, *later = list(filter(None, targeted)) or [[]]
        old_logprobs = [self._logprobs(share, temperature) for share in later]
        reports = [
            self._update(share, old, objective=objective, lr=lr, temperature=temperature)
            for share, old in zip([first, *later], [repeat(None), *old_logprobs], strict=True)
        ]
        names = [name for name, _ in reports[0].metrics]
        return StepReport(metrics=tuple((name, fmean(r[name] for r in reports)) for name in names))

    @torch.no_grad()
    def _logprobs(self, samples: Sequence[TrainSample], temperature: float) -> list[Tensor]:
        """By the present policy, of the targets (T,) of each of this rank's micro-batches."""
        return [self._policy(batch, temperature)[0] for batch in self._micro_batches(samples)]

    def _update(
        self,
        samples: Sequence[TrainSample],
        old_logprobs: Iterable[Tensor | None],
        *,
        objective: Objective,
        lr: float,
        temperature: float,
    ) -> StepReport:
        """Of the weights, once. `old_logprobs` are one (T,) per micro-batch; None: those of this policy."""
        num_targets = sum(sum(s.loss_mask) for s in samples)
        metrics = {"num_samples": float(len(samples)), "num_target_tokens": float(num_targets)}
        if not num_targets:
            return StepReport(metrics=tuple(metrics.items()))
        self._optimizer.zero_grad()
        tally = Tally()
        for micro_batch, old_T in zip(self._micro_batches(samples), old_logprobs, strict=False):
            logprobs_T, entropy_T = self._policy(micro_batch, temperature)
            terms = self._loss(objective, micro_batch, logprobs_T, old_T, num_targets)
            torch.autograd.backward(terms.loss)
            num_packed_tokens = len(micro_batch.token_ids_N)
            tally.add(terms, entropy_T, num_packed_tokens=num_packed_tokens, denominator=num_targets)
        metrics |= {**total(self._from_all_ranks(tally)), "grad_norm": self._move(lr), "lr": lr}
        return StepReport(metrics=tuple(metrics.items()))

    def score(
        self, sequences: Sequence[Sequence[int]], *, temperature: float = 1.0
    ) -> list[tuple[TokenScore, ...]]:
        """What the policy thinks of every token but the first of each sequence, given those before it.

        In softmax(logits / temperature). A sequence of n tokens has n - 1 scores; n is 2 or more.
        """
        assert all(len(ids) >= 2 for ids in sequences)
        samples = [
            TrainSample(
                token_ids=tuple(ids), loss_mask=(False, *[True] * (len(ids) - 1)), logprobs=(0.0,) * len(ids)
            )
            for ids in sequences
        ]
        mine: dict[int, tuple[TokenScore, ...]] = {}
        with torch.no_grad():
            for micro_batch in self._micro_batches(samples):
                pairs_T2 = torch.stack(self._policy(micro_batch, temperature), dim=-1)
                for index, pairs in micro_batch.split(pairs_T2).items():
                    mine[index] = tuple(TokenScore(logprob=p, entropy_nats=e) for p, e in pairs.tolist())
        scores = {i: score for part in self._from_all_ranks(mine) for i, score in part.items()}
        return [scores[i] for i in range(len(samples))]

    def publish(self, channel: WeightChannel, version: int) -> None:
        """Hand over every weight by its name in the plain model; a tied matrix appears once."""
        weights = self._whole(self.model.named_parameters())
        self._on_first_rank(lambda: channel.put(version, merged(self.model, weights)))

    def export(self, folder: Path) -> None:
        """The policy alone, as an ordinary Hugging Face folder."""
        weights = self._whole(self.model.named_parameters())
        self._on_first_rank(lambda: save_model(self.model, folder, merged(self.model, weights)))

    def save(self, folder: Path) -> None:
        """What was trained, and the optimizer's state; any number of ranks can go on from it."""
        if (lora := self._lora) is None:
            self.export(folder)
        else:
            weights = self._whole(self._trained())
            self._on_first_rank(lambda: write_adapters(folder, lora, weights))
        state = self._optimizer.named_state(self.model)
        header = shard_files.Header(kind=self._optimizer.kind, has_state=bool(state))
        self._on_first_rank(lambda: shard_files.write_header(folder, header))
        if state:
            shard_files.write_shards(folder, state, self._group)

    def restore(self, folder: Path) -> None:
        """From what any number of ranks saved."""
        header = shard_files.read_header(folder)
        self._take(self._on_first_rank(lambda: self._read(folder)) or {}, self._trained())
        self.reset_optimizer(header.kind)
        if header.has_state:
            state = shard_files.read_shards(folder, self.model, self._group)
            self._optimizer.load_named_state(self.model, state)

    def _read(self, folder: Path) -> dict[str, Tensor]:
        if self._lora is not None:
            return read_adapters(folder, self._lora)
        dtype = next(self.model.parameters()).dtype
        return dict(load_model(folder, dtype).named_parameters())

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def _whole(self, parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in parameters}

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Tensor], parameters: Iterable[tuple[str, Tensor]]) -> None:
        """Put whole weights in place of these parameters."""
        for name, parameter in parameters:
            parameter.copy_(weights[name])

    @property
    def _group(self) -> dist.ProcessGroup | None:
        """All ranks that take part in the step; None if there are no others."""
        return None

    def _micro_batches(self, samples: Sequence[TrainSample]) -> Iterator[MicroBatch]:
        return pack(samples, micro_batch_tokens=self._micro_batch_tokens, device=self.model.device)

    def _from_all_ranks(self, value: T) -> list[T]:
        """The value, and those of all other ranks."""
        return [value]

    def _on_first_rank(self, work: Callable[[], T]) -> T | None:
        """What only one of the ranks does."""
        return work()

    def _loss(
        self,
        objective: Objective,
        batch: MicroBatch,
        logprobs_T: Tensor,
        old_T: Tensor | None,
        num_targets: int,
    ) -> TokenLoss:
        if objective is Objective.LIKELIHOOD:
            return likelihood_loss(logprobs_T, denominator=num_targets)
        return policy_loss(
            logprobs_T,
            logprobs_T.detach() if old_T is None else old_T,
            batch.sampled_logprobs_T,
            batch.advantages_T,
            denominator=num_targets,
            clip_low=self._clip_low,
            clip_high=self._clip_high,
            importance_cap=self._importance_cap,
        )

    def _move(self, lr: float) -> float:
        """Clip, move, and return the gradient norm before clipping; nothing moves if it is not finite.

        It is the same on all ranks, so that they refuse together.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._grad_clip).item()
        if not math.isfinite(norm):
            raise LearnerError(
                f"the gradient's norm is {norm}, so no step was taken: the run goes on from its last "
                "checkpoint; if it comes again, lower the stage's lr, or set learner.bf16 = false, and give "
                "--accept-changes"
            )
        self._optimizer.step(lr)
        self._optimizer.zero_grad()  # no memory of the engines, which come next, is taken by gradients
        return norm
