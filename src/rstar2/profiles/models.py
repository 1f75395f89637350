"""Sizes of dense decoder-only models, derived from the few numbers of their `config.json`.

Covered: Llama-like layers as in Qwen2, Qwen2.5 and Qwen3, that is grouped-query attention, a gated MLP
with three matrices and RMS norms. Invariant: `num_parameters` is exactly that of the real model.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rstar2.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """One model."""

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied_embeddings: bool
    """Whether the output matrix is the embedding itself."""
    query_key_norms: bool = False
    """RMS norms of head_dim on queries and keys (Qwen3)."""
    qkv_bias: bool = False
    """Biases on queries, keys and values (Qwen2 and Qwen2.5)."""
    source: str = ""

    @property
    def parameters_per_layer(self) -> int:
        """Of the matrices, biases and norms of one layer."""
        matrices = self.linear_layers
        norms = 2 * self.hidden_size + (2 * self.head_dim if self.query_key_norms else 0)
        biases = sum(matrices[name][1] for name in ("q_proj", "k_proj", "v_proj")) if self.qkv_bias else 0
        return sum(inputs * outputs for inputs, outputs in matrices.values()) + norms + biases

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each matrix of one layer, by the name that transformers gives it."""
        hidden, mlp = self.hidden_size, self.intermediate_size
        query, key = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return {
            "q_proj": (hidden, query),
            "k_proj": (hidden, key),
            "v_proj": (hidden, key),
            "o_proj": (query, hidden),
            "gate_proj": (hidden, mlp),
            "up_proj": (hidden, mlp),
            "down_proj": (mlp, hidden),
        }

    @property
    def num_parameters(self) -> int:
        """All of them; tied matrices count once."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * self.parameters_per_layer + self.hidden_size

    @property
    def num_multiplied_parameters(self) -> int:
        """Those that every computed token is multiplied by: all but the table that is only looked up."""
        return self.num_parameters - (0 if self.tied_embeddings else self.vocab_size * self.hidden_size)

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_value

    def forward_flops(self, num_tokens: float, context_tokens: float) -> float:
        """Of `num_tokens` computed tokens that attend to `context_tokens` others each, on average.

        2 per parameter and token; attention adds, per layer and pair of tokens, 2 for the score and 2 for
        the weighted sum per element of a head: 4 * heads * head_dim.
        """
        pairs = num_tokens * context_tokens
        attention = 4.0 * self.num_layers * self.num_heads * self.head_dim * pairs
        return 2.0 * self.num_multiplied_parameters * num_tokens + attention


def model_shape(name: str) -> ModelShape:
    """Of a Hub id or a folder with config.json; `Qwen/Qwen3-14B-Base` is shaped as `Qwen/Qwen3-14B`."""
    config = Path(name) / "config.json"
    if config.exists():
        return shape_of_config(name, json.loads(config.read_text(encoding="utf-8")))
    entries = _entries()
    for known in (name, name.removesuffix("-Base"), name.removesuffix("-Instruct")):
        if known in entries:
            return ModelShape(name=name, **entries[known])
    raise ConfigError(
        f"the shape of '{name}' is not known; known: {', '.join(entries)}, or a folder with config.json"
    )


def model_names() -> tuple[str, ...]:
    return tuple(_entries())


def shape_of_config(name: str, config: Mapping[str, Any]) -> ModelShape:
    """The shape that a Hugging Face `config.json` of the Llama family describes."""
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise ConfigError(f"{name} is a model of type '{kind}'; sizes are known for {', '.join(_FAMILIES)}")
    heads = config["num_attention_heads"]
    return ModelShape(
        name=name,
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads", heads),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate_size=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        tied_embeddings=config.get("tie_word_embeddings", False),
        query_key_norms=kind == "qwen3",
        qkv_bias=kind == "qwen2",
        source="its config.json",
    )


_FAMILIES = ("qwen3", "qwen2", "llama")


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    text = files("rstar2.profiles").joinpath("models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
