"""The learner is built as the config says."""

import pytest
import torch
from transformers import PreTrainedModel

from rstar2.assemble.learner import learner_options, learning
from rstar2.config import parse_config
from rstar2.errors import ConfigError
from rstar2.learner.learner import LearnerOptions
from rstar2.models.loading import build_tiny
from rstar2.ports import Objective
from rstar2.types import TrainSample

SAMPLE = TrainSample(
    token_ids=(1, 2, 3), loss_mask=(False, True, True), logprobs=(0.0, -0.1, -0.1), advantage=-1.0
)


def tiny() -> PreTrainedModel:
    return build_tiny(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=13, max_positions=17, seed=0,
    )  # fmt: skip


def test_the_updates_of_one_stage_do_not_change_the_loss_of_another() -> None:
    alone, mixed = (
        parse_config({"stages": [{"name": f"rl{n}", "steps": 1, "updates": n} for n in updates]})
        for updates in ([1], [1, 2])
    )
    assert learner_options(alone) == learner_options(mixed)


def test_every_option_of_the_learner_is_decided_by_the_config() -> None:
    assert learner_options(parse_config({})).keys() == LearnerOptions.__annotations__.keys()


def test_adapters_leave_the_model_to_the_engines_as_it_was() -> None:
    config = parse_config({"model": {"base": "folder"}, "learner": {"device": "cpu", "lora": {"rank": 2}}})
    model, names = tiny(), [name for name, _ in tiny().named_parameters()]
    with learning(config, model) as learner:
        learner.step([SAMPLE], objective=Objective.POLICY, lr=1.0)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), tiny().parameters(), strict=True))


def test_a_bfloat16_checkpoint_learns_in_float32_masters() -> None:
    config = parse_config({"model": {"base": "folder", "dtype": "bfloat16"}, "learner": {"device": "cpu"}})
    before = tiny().bfloat16()
    with learning(config, tiny().bfloat16()) as learner:
        learner.step([SAMPLE], objective=Objective.LIKELIHOOD, lr=1e-6)
        moved = [
            (p != q).float().mean()
            for p, q in zip(learner.model.parameters(), before.parameters(), strict=True)
        ]
    assert min(moved) > 0.9, "in bfloat16, hardly any would move"


def test_more_ranks_than_gpus_are_refused_before_any_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = parse_config({"learner": {"num_ranks": 3, "device": "cuda"}})
    with pytest.raises(ConfigError, match="this machine has 2 GPUs"), learning(config, tiny()):
        pass
