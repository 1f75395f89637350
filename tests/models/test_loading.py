import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from rstar2.errors import CheckpointError
from rstar2.models.loading import build_tiny, load_model, load_skeleton, max_positions, save_model


def tiny(seed: int = 0) -> torch.nn.Module:
    return build_tiny(
        vocab_size=97, hidden_size=30, num_layers=2, num_heads=6, num_kv_heads=3,
        head_dim=10, mlp_size=53, max_positions=64, seed=seed,
    )  # fmt: skip


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert same(tiny(0), tiny(0))
    assert not same(tiny(0), tiny(1))
    assert torch.equal(torch.rand(3), expected), "the caller's random state has moved"


def test_embeddings_are_tied() -> None:
    model = tiny()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_saved_model_is_an_ordinary_hugging_face_folder(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    assert same(model, AutoModelForCausalLM.from_pretrained(tmp_path))
    assert same(model, load_model(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give a folder"):
        load_model(tmp_path)


DAMAGES: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "one missing": lambda weights: {
        n: w for n, w in weights.items() if n != "model.layers.1.mlp.up_proj.weight"
    },
    "other names": lambda weights: {f"policy.{name}": w for name, w in weights.items()},
    "other shapes": lambda weights: {
        n: w[:48] if n == "model.embed_tokens.weight" else w for n, w in weights.items()
    },
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_checkpoint_without_some_of_the_weights_is_refused(
    damage: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    save_model(tiny(), tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(damage(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"does not have \d+ weights .* \(.*model\."):
        load_model(tmp_path)


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    file = tmp_path / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    with pytest.raises(CheckpointError, match="give a folder"):
        load_model(tmp_path)


def test_a_skeleton_has_every_parameter_and_no_memory(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()  # it needs no weights
    skeleton = load_skeleton(tmp_path)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert {name: parameter.shape for name, parameter in skeleton.named_parameters()} == shapes
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    assert not skeleton.training, "with dropout, ranks would compute another model than the first one"
    with pytest.raises(CheckpointError, match="no causal language model"):
        load_skeleton(tmp_path / "nowhere")


def test_the_longest_text_is_read_of_the_configuration_alone(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert max_positions(tmp_path) == 64
    with pytest.raises(CheckpointError, match="no causal language model"):
        max_positions(tmp_path / "nowhere")


def test_what_cannot_be_written_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"could not be written.*check space and rights"):
        save_model(tiny(), tmp_path)


@pytest.mark.parametrize(
    ("values", "do_sample"), [({"temperature": 0.6}, True), ({"top_k": 20}, True), ({"max_length": 9}, None)]
)
def test_a_generation_config_that_can_be_read_can_be_written(
    tmp_path: Path, values: dict[str, float], do_sample: bool | None
) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    save_model(load_model(tmp_path), tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert values.items() <= saved.items()
    assert saved.get("do_sample") is do_sample


def test_a_generation_config_that_nothing_can_mend_is_refused_when_it_is_read(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"length_penalty": 2.0}))
    with pytest.raises(CheckpointError, match=r"generation_config\.json of .* contradicts itself"):
        load_model(tmp_path)
