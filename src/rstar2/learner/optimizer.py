"""The optimizers of a learner, all from torch: AdamW, or Muon for the matrices inside the layers.

AdamW is the recipe's. Muon orthogonalises the update of each matrix; it reaches the same loss in about
two thirds of the steps when a small model starts from random numbers, which is what it is used for here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from rstar2.learner.sharded_muon import ShardedMuon
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
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},  # norms and biases
        ]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True), 1.0)
        ]
        if inner:
            of = ShardedMuon if isinstance(inner[0], DTensor) else torch.optim.Muon
            muon = of(inner, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append((muon, MUON_LR_RATIO))

    def zero_grad(self) -> None:
        for optimizer, _ in self._parts:
            optimizer.zero_grad(set_to_none=True)

    def step(self, lr: float) -> None:
        for optimizer, ratio in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = lr * ratio
            optimizer.step()

    def named_state(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """Every tensor that a step leaves behind, as `parameter name.name in the optimizer`."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        return {
            f"{names[id(parameter)]}.{field}": value
            for optimizer, _ in self._parts
            for parameter, fields in optimizer.state.items()
            for field, value in fields.items()
        }

    def load_named_state(self, model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
        """Take over what `named_state` gave for the same kind and model."""
        owner = {
            id(parameter): optimizer
            for optimizer, _ in self._parts
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for key, value in state.items():
            name, _, field = key.rpartition(".")
            parameter = model.get_parameter(name)
            owner[id(parameter)].state[parameter][field] = value


def _inner_matrices(model: PreTrainedModel) -> list[Tensor]:
    """The trained matrices of all linear layers but the output's, which may be tied to the embedding."""
    output = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not output]
    return [m.weight for m in linear if m.weight.requires_grad]
