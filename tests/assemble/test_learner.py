"""The learner is built as the config says."""

import pytest

from rstar2.assemble.learner import learning
from rstar2.config import parse_config
from rstar2.models.loading import build_tiny
from rstar2.ports import Objective
from rstar2.types import TrainSample

STAGE = {"name": "rl1", "steps": 1, "max_response_tokens": 9}
SAMPLE = TrainSample(
    token_ids=(1, 2, 3), loss_mask=(False, True, True), logprobs=(0.0, -0.1, -0.1), advantage=-1.0
)
"""Far likelier when it was sampled than under any model with random weights: about 1 in 11."""


@pytest.mark.parametrize(("updates", "clip_fraction"), [([1, 1], 0.0), ([1, 2], 1.0)])
def test_with_several_updates_the_old_policy_is_the_one_that_sampled(
    updates: list[int], clip_fraction: float
) -> None:
    stages = [{**STAGE, "name": f"rl{n}", "updates": count} for n, count in enumerate(updates)]
    model = build_tiny(
        vocab_size=11,
        hidden_size=8,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        mlp_size=13,
        max_positions=17,
        seed=0,
    )
    with learning(parse_config({"stages": stages, "learner": {"device": "cpu"}}), model) as learner:
        report = learner.step([SAMPLE], objective=Objective.POLICY, lr=0.0)
    assert report["clip_fraction"] == clip_fraction
