"""Which parameter is moved by which optimizer, and how fast Muon starts a model from random numbers."""

import torch

from rstar2.learner.optimizer import Optimizers
from rstar2.models.loading import build_tiny
from rstar2.ports import OptimizerKind


def tiny() -> torch.nn.Module:
    return build_tiny(
        vocab_size=11,
        hidden_size=8,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        mlp_size=13,
        max_positions=17,
        seed=3,
    )


def moved(kind: OptimizerKind, lr: float) -> dict[str, torch.Tensor]:
    """How far one step moves each parameter when every gradient is 1."""
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = Optimizers(model, kind, betas=(0.9, 0.99), weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(lr)
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


def test_adamw_moves_every_weight_by_the_learning_rate_at_first() -> None:
    for name, change in moved(OptimizerKind.ADAMW, 0.01).items():
        assert torch.allclose(change, torch.full_like(change, 0.01), atol=1e-5), name


def test_muon_takes_the_inner_matrices_and_leaves_the_rest_to_adamw() -> None:
    changes = moved(OptimizerKind.MUON, 0.01)
    for name, change in changes.items():
        like_adamw = torch.allclose(change, torch.full_like(change, 0.01), atol=1e-5)
        assert like_adamw == (change.ndim < 2 or "embed" in name), name


def test_the_tied_output_matrix_is_moved_once() -> None:
    model = tiny()
    optimizers = Optimizers(model, OptimizerKind.MUON, betas=(0.9, 0.99), weight_decay=0.0)
    taken = [id(p) for part, _ in optimizers._parts for group in part.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())


def test_zero_grad_clears_both() -> None:
    model = tiny()
    optimizers = Optimizers(model, OptimizerKind.MUON, betas=(0.9, 0.99), weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.zero_grad()
    assert all(p.grad is None for p in model.parameters())
