"""Causal language models in and out of ordinary Hugging Face folders, and a tiny one from nothing.

No model is implemented here: the policy is a transformers causal LM, and the tiny policy is a
`Qwen3ForCausalLM` with a small configuration. What is written can be read by transformers and vLLM as it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rstar2.errors import CheckpointError


def build_tiny(
    *,
    vocab_size: int,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    mlp_size: int,
    max_positions: int,
    seed: int,
    initial_std: float = 0.02,
    eos_token_id: int | None = None,
    rope_theta: float = 10_000.0,
) -> PreTrainedModel:
    """A Qwen3 with random weights (normal, `initial_std`) drawn from `seed` alone, float32, tied embeddings.

    Tied, because at this size an output matrix of its own would be a large share of the parameters.
    """
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=mlp_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=head_dim,
        max_position_embeddings=max_positions,
        initializer_range=initial_std,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=True,
        eos_token_id=eos_token_id,
        architectures=["Qwen3ForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def load_model(path_or_hub_id: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal LM from a local folder or the Hugging Face hub, in evaluation mode, on the CPU.

    Whole or not at all: transformers would draw weights that it does not find at random.
    """
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path_or_hub_id, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(path_or_hub_id) from error
    if absent := sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}):
        raise CheckpointError(
            f"{path_or_hub_id} does not have {len(absent)} weights of its config.json's model by these names "
            f"and in these shapes ({', '.join(absent[:3])}, ...): give a whole checkpoint"
        )
    _make_writable(model.generation_config, path_or_hub_id)
    return model


def load_skeleton(path_or_hub_id: str | Path) -> PreTrainedModel:
    """The same model without weights or memory for them (on the `meta` device): somebody else brings them."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(_config(path_or_hub_id)).eval()


def max_positions(path_or_hub_id: str | Path) -> int:
    """Longest text, in tokens, that the model was made for; of its files only config.json is read."""
    return int(_config(path_or_hub_id).max_position_embeddings)


def _config(path_or_hub_id: str | Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(path_or_hub_id)
    except (OSError, ValueError) as error:
        raise _unreadable(path_or_hub_id) from error


def _make_writable(config: GenerationConfig, path_or_hub_id: str | Path) -> None:
    """transformers reads some that it refuses to write, above all a temperature without `do_sample`."""
    try:
        try:
            config.validate(strict=True)
        except ValueError:
            config.do_sample = True  # who gives a temperature means it
            config.validate(strict=True)
    except ValueError as error:
        raise CheckpointError(
            f"generation_config.json of {path_or_hub_id} contradicts itself: mend it, or remove it ({error})"
        ) from error


def _unreadable(path_or_hub_id: str | Path) -> CheckpointError:
    return CheckpointError(
        f"no causal language model could be read from {path_or_hub_id}; "
        "give a folder with config.json and safetensors, or a model id of the hub"
    )


def save_model(model: PreTrainedModel, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write `config.json` and safetensors; tied matrices are written once.

    With `weights`, these are written in place of the model's own, of which this process may hold only shards.
    """
    with writing(folder):
        model.save_pretrained(folder, state_dict=weights)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """CheckpointError for a full disk or missing rights, which safetensors tells by an error of its own."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} could not be written ({error}); check space and rights") from error
