"""A learner behind a crew is the learner: the same calls, the first rank's answers."""

from pathlib import Path
from typing import Any

import torch

from rstar2.learner.crew import CrewLearner
from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny
from rstar2.ports import Learner, Objective, OptimizerKind
from rstar2.types import TrainSample
from rstar2.weights import MemoryChannel

SAMPLE = TrainSample(token_ids=(1, 2, 3, 5), loss_mask=(False, True, True, True), logprobs=(0.0,) * 4)


def local() -> TorchLearner:
    model = build_tiny(
        vocab_size=11, hidden_size=8, num_layers=2, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=13, max_positions=17, seed=3,
    )  # fmt: skip
    return TorchLearner(model, micro_batch_tokens=64)


class CrewOfOne:
    """A rank in this process."""

    def __init__(self) -> None:
        self.learner, self.is_closed = local(), False

    def call(self, method: str, *args: object, **kwargs: object) -> list[Any]:
        return [getattr(self.learner, method)(*args, **kwargs), "of another rank"]

    def close(self) -> None:
        self.is_closed = True


def trained(learner: Learner, folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of three steps and the weights after them, with a checkpoint of the first one in between."""
    folder.mkdir()
    channel = MemoryChannel()
    learner.reset_optimizer(OptimizerKind.MUON)
    losses = [learner.step([SAMPLE], objective=Objective.LIKELIHOOD, lr=1e-2)["loss"]]
    learner.save(folder)
    losses += [learner.step([SAMPLE], objective=Objective.LIKELIHOOD, lr=1e-2)["loss"]]
    learner.restore(folder)
    losses += [learner.step([SAMPLE], objective=Objective.POLICY, lr=1e-2, temperature=0.5)["loss"]]
    learner.publish(channel, 4)
    return losses, dict(channel.get(4))


def test_every_call_reaches_the_ranks_as_it_was_made(tmp_path: Path) -> None:
    crew = CrewOfOne()
    ours, theirs = CrewLearner(crew), local()
    (our_losses, our_weights), (their_losses, their_weights) = (
        trained(ours, tmp_path / "ours"),
        trained(theirs, tmp_path / "theirs"),
    )
    assert our_losses == their_losses
    assert all(torch.equal(our_weights[name], weight) for name, weight in their_weights.items())
    assert ours.score([(1, 2, 3)], temperature=0.5) == theirs.score([(1, 2, 3)], temperature=0.5)
    ours.export(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()
    ours.close()
    assert crew.is_closed
