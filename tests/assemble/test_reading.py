import asyncio
import threading

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from rstar2.assemble import reading
from rstar2.assemble.reading import Reader
from rstar2.errors import ConfigError
from rstar2.models.loading import build_tiny


@pytest.mark.parametrize("chunk_tokens", [3, 512])
def test_a_text_is_read_as_the_plain_model_reads_it(monkeypatch, chunk_tokens):
    monkeypatch.setattr(reading, "_CHUNK_TOKENS", chunk_tokens)
    model = build_tiny(
        vocab_size=97, hidden_size=24, num_layers=2, num_heads=2, num_kv_heads=1,
        head_dim=12, mlp_size=40, max_positions=64, seed=5, initial_std=0.5,
    ).eval()  # fmt: skip
    token_ids = [5, 17, 3, 96, 41, 8, 8]
    found = asyncio.run(Reader(model)(token_ids))
    with torch.no_grad():
        logprobs = model(torch.tensor([token_ids])).logits[0].log_softmax(-1)
    assert [token.logprob for token in found] == pytest.approx(
        [float(logprobs[n, token_id]) for n, token_id in enumerate(token_ids[1:])], abs=1e-5
    )
    assert [token.likeliest_id for token in found] == logprobs[:-1].argmax(-1).tolist()
    assert [token.likeliest_logprob for token in found] == pytest.approx(
        logprobs[:-1].max(-1).values.tolist(), abs=1e-5
    )


SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "initializer_range": 0.5, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        (GraniteForCausalLM, GraniteConfig(**SHAPE, logits_scaling=8.0)),
        (CohereForCausalLM, CohereConfig(**SHAPE)),
        (Gemma2ForCausalLM, Gemma2Config(**SHAPE, head_dim=16, final_logit_softcapping=3.0)),
    ],
    ids=["scaled", "scaled up", "capped"],
)
def test_a_model_whose_logits_are_not_plain_products_is_refused(model_type, config, dtype):
    torch.manual_seed(0)
    with pytest.raises(ConfigError, match=rf"than those of {model_type.__name__}.* without --echo"):
        Reader(model_type(config).to(dtype))


def test_a_bias_of_the_output_is_read():
    torch.manual_seed(0)
    model = PhiForCausalLM(PhiConfig(**SHAPE)).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    token_ids = list(range(3, 20))
    with torch.no_grad():
        logprobs = model(torch.tensor([token_ids])).logits[0].log_softmax(-1)
    own = [float(logprobs[n, token_id]) for n, token_id in enumerate(token_ids[1:])]
    assert [token.logprob for token in asyncio.run(Reader(model)(token_ids))] == pytest.approx(own, abs=1e-4)


def test_nothing_comes_before_a_single_token():
    model = build_tiny(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=8, max_positions=8, seed=0,
    )  # fmt: skip
    assert asyncio.run(Reader(model)([3])) == []


def test_a_text_whose_reader_hung_up_is_read_to_its_end_before_the_next(monkeypatch):
    model = build_tiny(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=8, max_positions=16, seed=0,
    )  # fmt: skip
    reader = Reader(model)
    monkeypatch.setattr(reader, "_read", lambda token_ids: read(token_ids))
    begun: list[int] = []
    may_end = threading.Event()

    def read(token_ids: list[int]) -> list[int]:
        begun.append(token_ids[0])
        may_end.wait()
        return token_ids

    async def run() -> None:
        given_up = [asyncio.create_task(reader([number])) for number in (1, 2, 3)]
        while not begun:
            await asyncio.sleep(0.001)
        for task in given_up:
            task.cancel()
        last = asyncio.create_task(reader([4]))
        await asyncio.sleep(0.05)  # more than a free thread takes to begin
        num_begun = len(begun)
        may_end.set()
        assert await last == [4]
        assert (num_begun, begun) == (1, [1, 4])

    asyncio.run(run())
