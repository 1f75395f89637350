"""Draws: the hash, the distribution, and independence of the batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.engines.sampling import SamplingRows, draw, uniform

MASK = 2**64 - 1
CPU = torch.device("cpu")


def rows(seeds: list[int], temperature: float = 1.0, top_p: float = 1.0) -> SamplingRows:
    return SamplingRows.build(seeds, [temperature] * len(seeds), [top_p] * len(seeds), CPU)


def splitmix64(x: int) -> int:
    """The reference algorithm, on Python's integers."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_reference_hash_is_splitmix64() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # first output of the published generator for seed 0


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**31))
def test_uniforms_are_two_rounds_of_splitmix64(seed: int, position: int) -> None:
    expected = splitmix64((splitmix64(seed & MASK) + position) & MASK) >> 11
    actual = uniform(rows([seed]).seeds, torch.tensor([position]))
    assert actual.item() == expected / 2**53


def test_frequencies_follow_the_tempered_distribution() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.7, -0.2])
    num = 40_000
    tokens, logprobs = draw(
        logits.expand(num, 5), rows(list(range(num)), temperature=0.7), torch.full((num,), 3)
    )
    expected = (logits / 0.7).softmax(0)
    frequencies = torch.bincount(tokens, minlength=5) / num
    standard_error = (expected * (1 - expected) / num).sqrt()
    assert ((frequencies - expected).abs() < 4 * standard_error).all()
    torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_positions_of_one_seed_are_independent_draws() -> None:
    num = 20_000
    tokens, _ = draw(torch.zeros(num, 4), rows([7] * num), torch.arange(num))
    pairs = torch.bincount(4 * tokens[:-1] + tokens[1:], minlength=16) / (num - 1)
    assert ((pairs - 1 / 16).abs() < 4 * (1 / 16 / num) ** 0.5).all()


@pytest.mark.parametrize("temperature", [0.0, 1e-40, 9e-6])
def test_greedy_rows_take_the_most_likely_token_and_report_its_logprob_at_temperature_one(
    temperature: float,
) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    mixed = SamplingRows.build([1, 2], [temperature] * 2, [1.0, 0.5], CPU)
    tokens, logprobs = draw(logits, mixed, torch.tensor([4, 4]))
    assert tokens.tolist() == [1, 0]
    torch.testing.assert_close(logprobs, logits.log_softmax(1).max(1).values)


def test_top_p_keeps_the_smallest_sufficient_set_and_logprobs_ignore_it() -> None:
    probs = torch.tensor([0.1, 0.5, 0.15, 0.25])
    num = 2_000
    tokens, logprobs = draw(
        probs.log().expand(num, 4), rows(list(range(num)), top_p=0.7), torch.zeros(num, dtype=torch.long)
    )
    assert set(tokens.tolist()) == {1, 3}
    torch.testing.assert_close(logprobs, probs.log()[tokens])
    assert (tokens == 1).float().mean().item() == pytest.approx(2 / 3, abs=0.05)


def test_the_likeliest_token_is_left_by_a_top_p_that_float32_holds_as_zero() -> None:
    tokens, _ = draw(torch.tensor([[0.0, 3.0, 1.0]]), rows([5], top_p=1e-50), torch.tensor([4]))
    assert tokens.tolist() == [1]


def test_a_token_without_weight_is_never_drawn() -> None:
    num = 5_000
    logits = torch.full((num, 6), -torch.inf)
    logits[:, 1], logits[:, 4] = 0.0, -20.0
    tokens, _ = draw(logits, rows(list(range(num))), torch.arange(num))
    assert set(tokens.tolist()) <= {1, 4}


@given(st.permutations(range(6)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    torch.manual_seed(0)
    logits, positions = torch.randn(6, 31), torch.arange(6) * 5
    tokens, logprobs = draw(logits, rows([10, 11, 12, 13, 14, 15]), positions)
    shuffled_tokens, shuffled_logprobs = draw(logits[order], rows([10 + i for i in order]), positions[order])
    assert torch.equal(shuffled_tokens, tokens[order])
    assert torch.equal(shuffled_logprobs, logprobs[order])
