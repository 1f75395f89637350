"""The optimizers of a learner, all from torch: AdamW, or Muon for the matrices inside the layers.

AdamW is the recipe's. Muon orthogonalises the update of each matrix; it reaches the same loss in about
two thirds of the steps when a small model starts from random numbers, which is what it is used for here.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rstar2.ports import OptimizerKind

MUON_LR_RATIO = 2.0
"""Muon's learning rate over AdamW's, after torch has matched the size of their updates."""


class Optimizers:
    """One or two torch optimizers that step, and are saved, as one."""

    def __init__(
        self, model: PreTrainedModel, kind: OptimizerKind, *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        self.kind = kind
        inner = _inner_matrices(model) if kind is OptimizerKind.MUON else []
        taken = {id(p) for p in inner}
        rest = [p for p in model.parameters() if id(p) not in taken]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},  # norms and biases
        ]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True), 1.0)
        ]
        if inner:
            muon = torch.optim.Muon(inner, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append((muon, MUON_LR_RATIO))

    def zero_grad(self) -> None:
        for optimizer, _ in self._parts:
            optimizer.zero_grad(set_to_none=True)

    def step(self, lr: float) -> None:
        for optimizer, ratio in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = lr * ratio
            optimizer.step()

    def state_dict(self) -> dict[str, object]:
        return {"kind": self.kind.value, "parts": [optimizer.state_dict() for optimizer, _ in self._parts]}

    def load_parts(self, states: Iterable[dict[str, object]]) -> None:
        """Take over the states that `state_dict` gave for the same kind and model."""
        for (optimizer, _), state in zip(self._parts, states, strict=True):
            optimizer.load_state_dict(state)


def _inner_matrices(model: PreTrainedModel) -> list[Tensor]:
    """The matrices of all linear layers but the output's, which may be tied to the embedding."""
    output = model.get_output_embeddings()
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m is not output]
