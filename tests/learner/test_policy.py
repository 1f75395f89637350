"""Which models the policy computes as transformers does; all others are refused."""

import copy
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from rstar2.errors import ConfigError
from rstar2.learner.learner import TorchLearner
from rstar2.models.loading import build_tiny

TOKEN_IDS = tuple(range(1, 25))
SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128,
    "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip
WINDOW = 4


def model(name: str, **options: Any) -> PreTrainedModel:
    """With weights large enough for attention to matter, and a bias of the output layer if it has one."""
    config = getattr(transformers, f"{name}Config")(**SHAPE, **options)
    torch.manual_seed(0)
    made: PreTrainedModel = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    if (bias := made.get_output_embeddings().bias) is not None:
        torch.nn.init.normal_(bias)
    return made


def own_logprobs(plain: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        logits = plain(torch.tensor([TOKEN_IDS])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(TOKEN_IDS)[1:, None])[:, 0]


def learner_logprobs(learner: TorchLearner) -> Tensor:
    (scores,) = learner.score([TOKEN_IDS])
    return torch.tensor([score.logprob for score in scores])


KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "mistral without a window": ("Mistral", {"sliding_window": None}),
    "a window that is not used": ("Qwen2", {"use_sliding_window": False, "sliding_window": WINDOW}),
    "a window that holds all": ("Mistral", {"sliding_window": len(TOKEN_IDS)}),
}
OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "window": ("Mistral", {"sliding_window": WINDOW}, "sees 4 tokens back"),
    "window of some layers": (
        "Qwen3",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1, "head_dim": 16},
        "sees 4 tokens back",
    ),
    "window of most layers": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW},
        "sees 4 tokens back",
    ),
    "soft caps": ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16}, "no soft cap"),
    "sinks": ("GptOss", {"head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1}, "no sinks"),
    "scaled logits": ("Granite", {"logits_scaling": 8.0}, "GraniteForCausalLM: log-probs differ"),
    "scaled and tied logits": ("Cohere", {"logit_scale": 0.0625}, "CohereForCausalLM: log-probs differ"),
    "biased logits": ("Phi", {}, "PhiForCausalLM: log-probs differ"),
}


@pytest.mark.parametrize(("name", "options"), KNOWN.values(), ids=KNOWN)
def test_what_a_learner_takes_it_computes_as_transformers_does(name: str, options: dict[str, Any]) -> None:
    plain = model(name, **options)
    learner = TorchLearner(copy.deepcopy(plain), micro_batch_tokens=64)
    torch.testing.assert_close(learner_logprobs(learner), own_logprobs(plain), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "options", "message"), OTHERS.values(), ids=OTHERS)
def test_a_model_that_the_policy_is_not_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TorchLearner(model(name, **options), micro_batch_tokens=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_rounding_is_no_other_model_and_a_gross_difference_is(dtype: torch.dtype, bias: float) -> None:
    phi = model("Phi").to(dtype)
    torch.nn.init.normal_(phi.get_output_embeddings().bias, std=bias)
    if bias:
        with pytest.raises(ConfigError, match="log-probs differ"):
            TorchLearner(phi, micro_batch_tokens=64)
    else:
        TorchLearner(phi, micro_batch_tokens=64)


def test_a_sample_longer_than_the_window_is_refused_when_it_comes() -> None:
    learner = TorchLearner(model("Mistral", sliding_window=23), micro_batch_tokens=64)
    learner.score([TOKEN_IDS[:23]])
    with pytest.raises(ConfigError, match="a sample has 24"):
        learner.score([TOKEN_IDS])


def test_a_vocabulary_of_few_tokens_can_be_tried() -> None:
    few = build_tiny(
        vocab_size=3, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=13, max_positions=17, seed=0,
    )  # fmt: skip
    assert len(TorchLearner(few, micro_batch_tokens=8).score([(1, 2, 0)])[0]) == 2
