import asyncio
import threading

import pytest
import torch

from rstar2.assemble import reading
from rstar2.assemble.reading import Reader
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


def test_nothing_comes_before_a_single_token():
    model = build_tiny(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=4, mlp_size=8, max_positions=8, seed=0,
    )  # fmt: skip
    assert asyncio.run(Reader(model)([3])) == []


def test_a_text_whose_reader_hung_up_is_read_to_its_end_before_the_next(monkeypatch):
    monkeypatch.setattr(Reader, "_read", lambda reader, token_ids: read(token_ids))
    begun: list[int] = []
    may_end = threading.Event()

    def read(token_ids: list[int]) -> list[int]:
        begun.append(token_ids[0])
        may_end.wait()
        return token_ids

    async def run() -> None:
        reader = Reader(torch.nn.Identity())
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
