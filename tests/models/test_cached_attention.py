"""Attention over rows and shared prompts, by hand. Against whole uncached models: tests/engines."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rstar2.errors import ConfigError
from rstar2.models.cached_attention import CacheLayout, Span, cached_attention
from rstar2.models.row_cache import RowCache

CPU = torch.device("cpu")
KV_HEADS, REPEATS, HEAD_DIM = 2, 3, 5


def attend(layout: CacheLayout, query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
    module = SimpleNamespace(layer_idx=0)
    out, _ = cached_attention(
        module, query, key, value, None, cache_layout=layout, scaling=0.7, **options  # type: ignore[arg-type]
    )  # fmt: skip
    return out


def by_hand(query: Tensor, key: Tensor, value: Tensor, window: int | None = None) -> Tensor:
    """Causal attention of one sequence, head by head: (heads, T, D) -> (T, heads, D)."""
    num_tokens = query.shape[1]
    distance = torch.arange(num_tokens)[:, None] - torch.arange(num_tokens)
    hidden = (distance < 0) | (distance >= (window or num_tokens))
    heads = []
    for head in range(query.shape[0]):
        scores = 0.7 * query[head] @ key[head // REPEATS].T
        heads.append(scores.masked_fill(hidden, -torch.inf).softmax(1) @ value[head // REPEATS])
    return torch.stack(heads, dim=1)


@pytest.mark.parametrize("window", [None, 4])
def test_prompts_chunks_and_decode_steps_equal_attention_by_hand(window: int | None) -> None:
    """Rows 0 and 1 share a prompt of 5 tokens, row 2 has one of 2; 6, 4 and 7 own tokens follow."""
    torch.manual_seed(0)
    num_shared, num_own, prompt_of = (5, 5, 2), (6, 4, 7), (0, 0, 1)
    heads_of = (KV_HEADS * REPEATS, KV_HEADS, KV_HEADS)
    prompts = [[torch.randn(1, heads, length, HEAD_DIM) for heads in heads_of] for length in (5, 2)]
    own = [[torch.randn(1, heads, length, HEAD_DIM) for heads in heads_of] for length in num_own]
    whole = [
        [torch.cat(pair, dim=2) for pair in zip(prompts[prompt_of[r]], own[r], strict=True)] for r in range(3)
    ]
    expected = [by_hand(*(x[0] for x in sequence), window) for sequence in whole]
    rows, prompt_rows = RowCache(), RowCache()
    rows.fit(3, 7)
    prompt_rows.fit(2, 5)

    def step(decode: list[int], new_prompts: list[int], chunks: list[tuple[int, int]]) -> None:
        """Own positions of rows 0, 1, ... that decode; (start, num_tokens) of the next rows."""
        spans = [(start, 1) for start in decode] + chunks
        named = [
            Span(prompt=prompt_of[r], num_shared=num_shared[r], start=start, num_tokens=num)
            for r, (start, num) in enumerate(spans)
        ]
        pieces = [
            (r, num_shared[r] + start, num_shared[r] + start + num) for r, (start, num) in enumerate(spans)
        ]
        pieces[len(decode) : len(decode)] = [(r, 0, num_shared[r]) for r in map(prompt_of.index, new_prompts)]
        layout = CacheLayout(
            rows, prompt_rows, decode=named[: len(decode)], chunks=named[len(decode) :],
            new_prompts=[(p, prompts[p][0].shape[2]) for p in new_prompts], device=CPU,
        )  # fmt: skip
        parts = [torch.cat([whole[r][i][:, :, a:b] for r, a, b in pieces], dim=2) for i in range(3)]
        wanted = torch.cat([expected[r][a:b] for r, a, b in pieces])
        torch.testing.assert_close(attend(layout, *parts, sliding_window=window)[0], wanted)

    step([0], [0], [(0, 3)])
    step([1, 3], [1], [(0, 5)])
    step([2], [], [])
    step([3], [], [])
    step([4, 3, 5], [], [])


def test_the_layout_knows_positions_and_last_tokens() -> None:
    layout = CacheLayout(
        RowCache(), RowCache(),
        decode=[Span(prompt=0, num_shared=4, start=0), Span(prompt=0, num_shared=4, start=5)],
        new_prompts=[(1, 3)],
        chunks=[Span(prompt=1, num_shared=3, start=0, num_tokens=2)],
        device=CPU,
    )  # fmt: skip
    assert layout.position_ids.tolist() == [[4, 9, 0, 1, 2, 3, 4]]
    assert layout.last_tokens.tolist() == [0, 1, 6]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_rows_brought_together_by_prompt_come_apart_unchanged(prompts: list[int]) -> None:
    spans = [Span(prompt=prompt, num_shared=1, start=0) for prompt in prompts]
    layout = CacheLayout(RowCache(), RowCache(), decode=spans, device=CPU)
    x = torch.randn(len(prompts), KV_HEADS, REPEATS, HEAD_DIM)
    together = layout.together(x)
    assert together.shape[0] == max(prompts) + 1
    assert torch.equal(layout.apart(together, REPEATS), x)
    for row, prompt in enumerate(prompts):
        place = prompts[:row].count(prompt) * REPEATS
        assert torch.equal(together[prompt, :, place : place + REPEATS], x[row])


@pytest.mark.parametrize("option", [{"softcap": 30.0}, {"s_aux": torch.zeros(2)}], ids=str)
def test_a_model_with_soft_caps_or_sinks_of_attention_is_refused(option: dict[str, object]) -> None:
    layout = CacheLayout(RowCache(), RowCache(), decode=[Span(prompt=0, num_shared=0, start=0)], device=CPU)
    x = torch.zeros(1, 2, 1, HEAD_DIM)
    with pytest.raises(ConfigError, match="soft cap and no sinks"):
        attend(layout, x, x, x, **option)
