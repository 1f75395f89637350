"""Sizes against published totals, and against a model that is really built."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from rstar2.errors import ConfigError
from rstar2.profiles import ModelShape, model_names, model_shape, shape_of_config

PUBLISHED = {
    "Qwen/Qwen3-14B": (14.8, 13.2),
    "Qwen/Qwen3-8B": (8.2, 6.95),
    "Qwen/Qwen3-4B": (4.0, 3.6),
    "Qwen/Qwen3-1.7B": (1.7, 1.4),
    "Qwen/Qwen3-0.6B": (0.6, 0.44),
    "Qwen/Qwen2.5-7B": (7.61, 6.53),
}
"""Billions of parameters, all and without embeddings, as the model cards round or cut them."""

SMALL = ModelShape(
    name="small",
    num_layers=2,
    hidden_size=5,
    num_heads=3,
    num_kv_heads=1,
    head_dim=2,
    intermediate_size=7,
    vocab_size=11,
    tied_embeddings=False,
)


@pytest.mark.parametrize("name", model_names())
def test_the_parameters_are_those_of_the_model_card(name):
    shape = model_shape(name)
    without_embeddings = shape.num_layers * shape.parameters_per_layer
    for ours, card in zip((shape.num_parameters, without_embeddings), PUBLISHED[name], strict=True):
        digits = len(str(card).partition(".")[2])
        assert abs(ours / 1e9 - card) < 10**-digits


@pytest.mark.parametrize("name", model_names())
def test_the_parameters_are_exactly_those_that_transformers_builds(name):
    shape = model_shape(name)
    kind = Qwen3Config if shape.query_key_norms else Qwen2Config
    config = kind(
        num_hidden_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tied_embeddings,
    )
    with torch.device("meta"):  # shapes without memory
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == shape.num_parameters
    assert shape_of_config(name, config.to_dict()).num_parameters == shape.num_parameters


def test_a_base_model_has_the_shape_of_its_family():
    base = model_shape("Qwen/Qwen3-14B-Base")
    assert (base.name, base.num_layers, base.num_parameters) == ("Qwen/Qwen3-14B-Base", 40, 14_768_307_200)


def test_a_token_of_qwen3_14b_holds_160_kib_of_keys_and_values():
    assert model_shape("Qwen/Qwen3-14B").kv_bytes_per_token() == 2 * 40 * 8 * 128 * 2 == 160 * 1024


def test_a_layer_is_counted_by_hand():
    # attention 5*(2*6 + 2*2) = 80, MLP 3*5*7 = 105, norms 2*5 = 10
    assert SMALL.parameters_per_layer == 195
    assert SMALL.num_parameters == 2 * 195 + 2 * 11 * 5 + 5 == 505
    assert SMALL.num_multiplied_parameters == 505 - 55


def test_forward_flops_are_two_per_weight_and_four_per_pair_and_element():
    assert SMALL.forward_flops(1, 0) == 900
    assert SMALL.forward_flops(3, 10) == 3 * 900 + 4 * 2 * 3 * 2 * 30


@pytest.mark.parametrize(
    "ask", [lambda: model_shape("nobody/x"), lambda: shape_of_config("x", {"model_type": "rwkv"})]
)
def test_an_unknown_model_is_refused_with_what_is_known(ask):
    with pytest.raises(ConfigError, match=r"[Qq]wen3"):
        ask()


def test_a_checkpoint_is_shaped_as_its_config_says(tmp_path):
    config = {
        "model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 12, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 7, "vocab_size": 11,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_shape(str(tmp_path)).kv_bytes_per_token() == 2 * 2 * 1 * 4 * 2
