"""LoRA: only adapters learn, and whoever gets the policy gets plain weights."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from rstar2.errors import CheckpointError, ConfigError
from rstar2.learner.adapters import WEIGHTS_FILE, Lora, write_adapters
from rstar2.learner.fsdp import FsdpLearner
from rstar2.learner.learner import TorchLearner
from rstar2.learner.sharding import Sharding
from rstar2.models.loading import build_tiny, load_model
from rstar2.ports import Objective
from rstar2.types import TrainSample
from rstar2.weights import MemoryChannel

VOCAB = 97
LORA = Lora(rank=3, alpha=12, seed=1)
TOKEN_IDS = (5, 17, 80, 3, 3, 41, 96, 0, 12)
SAMPLE = TrainSample(
    token_ids=TOKEN_IDS, loss_mask=(False, *[True] * (len(TOKEN_IDS) - 1)), logprobs=(0.0,) * len(TOKEN_IDS)
)


def base() -> torch.nn.Module:
    return build_tiny(
        vocab_size=VOCAB, hidden_size=30, num_layers=2, num_heads=6, num_kv_heads=3,
        head_dim=10, mlp_size=53, max_positions=64, seed=0,
    )  # fmt: skip


def local(lora: Lora = LORA) -> TorchLearner:
    return TorchLearner(base(), micro_batch_tokens=64, lora=lora)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceMesh]:
    """A process group of one."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield DeviceMesh("cpu", [0])
    dist.destroy_process_group()


@pytest.fixture(params=["process", "rank"])
def learner(request: pytest.FixtureRequest, alone: DeviceMesh) -> TorchLearner:
    if request.param == "process":
        return local()
    return FsdpLearner(base(), Sharding(mesh=alone), micro_batch_tokens=64, lora=LORA)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_prj", "input_layernorm", "self_attn", ""])
def test_targets_that_are_no_inner_linear_layer_are_refused_beside_others(target: str) -> None:
    lora = replace(LORA, targets=("q_proj", target))
    with pytest.raises(
        ConfigError, match=rf"'{target}' .*q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj"
    ):
        local(lora)


def test_targets_may_be_the_end_of_a_longer_name() -> None:
    layers = {name for name, _ in local(replace(LORA, targets=("self_attn.q_proj",)))._trained()}
    assert {name.partition(".lora_")[0] for name in layers} == {
        f"model.layers.{number}.self_attn.q_proj" for number in range(2)
    }


def steps(learner: TorchLearner, number: int) -> list[float]:
    return [learner.step([SAMPLE], objective=Objective.LIKELIHOOD, lr=1e-2)["loss"] for _ in range(number)]


def published(learner: TorchLearner) -> dict[str, Tensor]:
    channel = MemoryChannel()
    learner.publish(channel, 0)
    return dict(channel.get(0))


def logprobs(learner: TorchLearner) -> list[float]:
    (scores,) = learner.score([TOKEN_IDS])
    return [score.logprob for score in scores]


def test_new_adapters_change_nothing(learner: TorchLearner) -> None:
    plain = dict(base().named_parameters())
    weights = published(learner)
    assert list(weights) == list(plain)
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


def test_steps_learn_and_move_only_adapters(learner: TorchLearner) -> None:
    losses = steps(learner, 6)
    assert losses[-1] < losses[0] - 0.3  # B starts at zero: it is slow at first
    moved = {
        name
        for name, weight in published(learner).items()
        if not torch.equal(weight, base().get_parameter(name))
    }
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in moved} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    frozen = {
        name.replace(".base_layer", ""): p
        for name, p in learner._whole(learner.model.named_parameters()).items()
        if "lora" not in name
    }
    assert all(torch.equal(frozen[name], p) for name, p in base().named_parameters())


def test_merged_weights_are_the_policy_that_was_trained(learner: TorchLearner, tmp_path: Path) -> None:
    before = logprobs(learner)
    steps(learner, 4)
    plain = TorchLearner(base(), micro_batch_tokens=64)
    plain.model.load_state_dict(published(learner), strict=False)
    assert logprobs(plain) == pytest.approx(logprobs(learner), abs=1e-5)
    assert max(abs(a - b) for a, b in zip(before, logprobs(plain), strict=True)) > 0.1
    learner.export(tmp_path)
    exported = dict(load_model(tmp_path).named_parameters())
    assert all(torch.equal(exported[name], weight) for name, weight in published(learner).items())


def test_later_updates_of_a_batch_are_compared_with_the_adapters_before_the_first(
    learner: TorchLearner,
) -> None:
    steps(learner, 2)
    before = logprobs(learner)
    report = learner.step([SAMPLE], [SAMPLE], objective=Objective.POLICY, lr=1e-3)
    other = local()
    steps(other, 2)
    other.step([SAMPLE], objective=Objective.POLICY, lr=1e-3)
    ratios = [math.exp(now - old) for now, old in zip(logprobs(other), before, strict=True)]
    assert abs(fmean(ratios) - 1.0) > 1e-3
    assert report["ratio"] == pytest.approx((1.0 + fmean(ratios)) / 2, abs=1e-4)


def test_only_the_named_layers_are_adapted() -> None:
    learner = local(replace(LORA, targets=("q_proj",)))
    steps(learner, 2)
    moved = [n for n, w in published(learner).items() if not torch.equal(w, base().get_parameter(n))]
    assert moved == [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2)]


def test_a_checkpoint_is_adapters_alone_and_goes_on_bit_for_bit(
    learner: TorchLearner, tmp_path: Path
) -> None:
    steps(learner, 2)
    learner.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    resumed = local()
    steps(resumed, 1)  # what it held before is gone
    resumed.restore(tmp_path)
    assert steps(resumed, 2) == pytest.approx(
        steps(learner, 2), abs=0 if type(learner) is TorchLearner else 1e-6
    )


def test_other_adapters_are_refused(tmp_path: Path) -> None:
    local().save(tmp_path)
    with pytest.raises(CheckpointError, match=r"set learner\.lora"):
        local(replace(LORA, rank=2)).restore(tmp_path)
    (tmp_path / "adapters.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="holds no adapters"):
        local().restore(tmp_path)


def test_adapters_that_cannot_be_written_are_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_FILE).mkdir()
    with pytest.raises(CheckpointError, match=r"could not be written.*check space and rights"):
        write_adapters(tmp_path, LORA, {"a": torch.zeros(2)})
