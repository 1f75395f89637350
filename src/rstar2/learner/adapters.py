"""Low-rank adapters (LoRA, arXiv:2106.09685), through peft: the model stays, and small matrices learn.

A linear layer computes x W' + s x A' B' with A (r, in), B (out, r) and s = alpha / r. Only A and B are
trained and saved; B starts at zero, so that nothing changes at first. Whoever is given the policy gets plain
weights W + s B A under the plain model's names: no engine knows of adapters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from rstar2.errors import CheckpointError, ConfigError
from rstar2.models.loading import writing

WEIGHTS_FILE = "adapters.safetensors"
OPTIONS_FILE = "adapters.json"
_BASE = "base_layer."
_A, _B = "lora_A.default.weight", "lora_B.default.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Which layers are adapted, and how far they may move."""

    rank: int
    alpha: int
    targets: tuple[str, ...] = ()
    """Ends of the names of linear layers, from a dot on; none means all but the output's."""
    seed: int = 0
    """Draws every A: ranks must begin alike."""


def add_adapters(model: PreTrainedModel, lora: Lora) -> None:
    """In place. The model's own parameters no longer learn; adapters are float32 whatever its type.

    ConfigError if a target is no linear layer, or the output's, whose weight is read without its adapter.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("learner.lora needs peft: pip install 'rstar2[lora]'") from error

    _refuse_other_targets(model, lora.targets)
    options = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets) or "all-linear"
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(lora.seed)
        inject_adapter_in_model(options, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _refuse_other_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    output = model.get_output_embeddings()
    layers = [
        f".{name}"
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and part is not output
    ]
    for target in targets:
        if not any(layer.endswith(f".{target}") for layer in layers):
            names = dict.fromkeys(layer.rpartition(".")[2] for layer in layers)
            raise ConfigError(
                f"learner.lora.targets: '{target}' is no linear layer within {type(model).__name__}: "
                f"choose among {', '.join(names)}"
            )


def merged(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plain model's weights from whole ones of `model`; as they are if it has no adapters."""
    plain = {}
    for name, weight in weights.items():
        layer, _, rest = name.rpartition(_BASE)
        if rest == "weight" and layer + _A in weights:
            scale: float = model.get_submodule(layer.rstrip(".")).scaling["default"]
            delta = scale * (weights[layer + _B] @ weights[layer + _A])
            weight = (weight.float() + delta).to(weight.dtype)
        if not name.endswith((_A, _B)):
            plain[layer + rest] = weight
    return plain


def write_adapters(folder: Path, lora: Lora, weights: Mapping[str, Tensor]) -> None:
    """Trained matrices by name; the base is not written, since it is that which the run was given."""
    with writing(folder):
        (folder / OPTIONS_FILE).write_text(json.dumps(asdict(lora)))
        save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS_FILE)


def read_adapters(folder: Path, lora: Lora) -> dict[str, Tensor]:
    """What `write_adapters` wrote, if it was for the same adapters."""
    try:
        written = json.loads((folder / OPTIONS_FILE).read_text())
        weights: dict[str, Tensor] = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} holds no adapters; use another checkpoint") from error
    if written != json.loads(json.dumps(asdict(lora))):
        raise CheckpointError(f"{folder} holds other adapters ({written}); set learner.lora to these")
    return weights
