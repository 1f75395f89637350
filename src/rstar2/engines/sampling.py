"""Draws of the next tokens for a whole batch, reproducible one row at a time.

A draw is a function of (seed, position) and the row's logits alone: a counter hash gives a uniform number,
which the inverse of the cumulative distribution turns into a token. Who else is in the batch, and in which
order rows came and went, cannot matter. Legend: N rows, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_GREEDY_BELOW = 1e-5
"""Temperatures under it, as in vLLM: logits divided by much less are infinite, and have no distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRows:
    """How each row draws; rebuilt only when rows come or go."""

    seeds: Tensor
    """int64 (N,)."""
    temperatures: Tensor
    """float32 (N, 1); 1.0 in greedy rows."""
    greedy: Tensor | None
    """bool (N,), or None if no row is greedy."""
    top_p: Tensor | None
    """float32 (N, 1), or None if no row cuts the tail."""

    @classmethod
    def build(
        cls, seeds: Sequence[int], temperatures: Sequence[float], top_p: Sequence[float], device: torch.device
    ) -> "SamplingRows":
        greedy = [temperature < _GREEDY_BELOW for temperature in temperatures]
        tempered = [1.0 if temperature < _GREEDY_BELOW else temperature for temperature in temperatures]
        return cls(
            seeds=torch.tensor([_as_int64(seed) for seed in seeds], dtype=torch.int64, device=device),
            temperatures=torch.tensor(tempered, device=device)[:, None],
            greedy=torch.tensor(greedy, device=device) if any(greedy) else None,
            top_p=torch.tensor(top_p, device=device)[:, None] if min(top_p, default=1.0) < 1.0 else None,
        )


def draw(logits_NV: Tensor, rows: SamplingRows, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Next token and its log-prob per row; `positions` (N,) are those that the new tokens will take.

    The log-prob is that of the tempered distribution softmax(logits / temperature) in float32, before top-p,
    which is what the learner recomputes. Greedy rows report it at temperature 1.
    """
    logprobs_NV = torch.log_softmax(logits_NV.float() / rows.temperatures, dim=-1)
    probs_NV = logprobs_NV.exp()
    if rows.top_p is not None:
        probs_NV = _without_tail(probs_NV, rows.top_p)
    tokens = _inverse_cdf(probs_NV, uniform(rows.seeds, positions))
    if rows.greedy is not None:
        tokens = torch.where(rows.greedy, logits_NV.argmax(dim=-1), tokens)
    return tokens, logprobs_NV.gather(1, tokens[:, None])[:, 0]


def uniform(seeds: Tensor, positions: Tensor) -> Tensor:
    """One float64 in [0, 1) per row: the top 53 bits of two rounds of splitmix64 over (seed, position)."""
    bits = _splitmix64(_splitmix64(seeds) + positions)
    return ((bits >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def _inverse_cdf(probs_NV: Tensor, uniforms: Tensor) -> Tensor:
    """First token whose cumulative weight exceeds u times the total weight.

    The target stays strictly below the total, whatever the rounding: a token of weight 0 cannot be drawn.
    """
    cdf_NV = probs_NV.cumsum(dim=-1)
    total = cdf_NV[:, -1]
    target = (uniforms * total.double()).float().minimum(torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cdf_NV, target[:, None], right=True)[:, 0]


def _without_tail(probs_NV: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of most likely tokens that holds at least `top_p` of the weight.

    The likeliest stays, even where `top_p` is so small that float32 holds 0.
    """
    sorted_NV, order_NV = probs_NV.sort(dim=-1, descending=True, stable=True)
    before_NV = sorted_NV.cumsum(dim=-1) - sorted_NV
    is_tail_NV = (before_NV >= top_p) & (before_NV > 0)
    return torch.zeros_like(probs_NV).scatter(1, order_NV, sorted_NV.masked_fill(is_tail_NV, 0.0))


def _splitmix64(x: Tensor) -> Tensor:
    """Steele, Lea and Flood 2014, on int64 tensors: products wrap, and shifts are made logical by a mask."""
    x = x + _as_int64(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _as_int64(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _as_int64(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _as_int64(value: int) -> int:
    """The signed integer with the same low 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
