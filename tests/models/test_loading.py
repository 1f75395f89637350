from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rstar2.errors import CheckpointError
from rstar2.models.loading import build_tiny, load_model, load_skeleton, save_model


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


def test_a_skeleton_has_every_parameter_and_no_memory(tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()  # it needs no weights
    skeleton = load_skeleton(tmp_path)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert {name: parameter.shape for name, parameter in skeleton.named_parameters()} == shapes
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    with pytest.raises(CheckpointError, match="no causal language model"):
        load_skeleton(tmp_path / "nowhere")
