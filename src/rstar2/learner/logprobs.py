"""Log-probs of given tokens without ever holding the logits of all of them.

At a vocabulary of 150K, logits of 16K tokens are 10 GB in float32 and their softmax as much again. Here a
chunk of tokens at a time is projected, reduced to one log-prob and one entropy per token, and forgotten;
backward projects it again. Only targets are projected at all: the caller passes no hidden state of any other
token.

Shape suffixes: T targets, C targets of one chunk, D hidden size, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def token_logprobs(
    hidden_TD: Tensor,
    head_VD: Tensor,
    target_T: Tensor,
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 2048,
) -> tuple[Tensor, Tensor]:
    """(log-prob of the target, entropy) of softmax(hidden @ head.T / temperature), float32 nats, (T,).

    Gradients flow to `hidden_TD` and `head_VD` through the log-probs; the entropy is a measurement without
    gradient.
    """
    logprobs_T, entropy_T = _ChunkedLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden_TD, head_VD, target_T, 1.0 / temperature, chunk_tokens
    )
    return logprobs_T, entropy_T


def _log_softmax(hidden_CD: Tensor, head_VD: Tensor, scale: float) -> Tensor:
    """In float32 whatever the type of the projection."""
    return (hidden_CD @ head_VD.T).float().mul_(scale).log_softmax(dim=-1)


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


class _ChunkedLogprobs(torch.autograd.Function):
    """d logp_t / d logits = onehot(target) - softmax, computed again in backward, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, head_VD: Tensor, target_T: Tensor, scale: float, chunk_tokens: int
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies = [], []
        for rows in _chunks(len(target_T), chunk_tokens):
            logprobs_CV = _log_softmax(hidden_TD[rows], head_VD, scale)
            logprobs.append(logprobs_CV.gather(1, target_T[rows, None])[:, 0])
            entropies.append(-(logprobs_CV.exp().mul_(logprobs_CV)).sum(dim=-1))
        ctx.save_for_backward(hidden_TD, head_VD, target_T)
        ctx.scale, ctx.chunk_tokens = scale, chunk_tokens
        entropy_T = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy_T)
        return torch.cat(logprobs), entropy_T

    @staticmethod
    def backward(ctx: Any, grad_T: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, head_VD, target_T = ctx.saved_tensors
        grad_hidden_TD = torch.empty_like(hidden_TD)
        is_trained = ctx.needs_input_grad[1]  # with adapters it is not
        grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32) if is_trained else None
        for rows in _chunks(len(target_T), ctx.chunk_tokens):
            grad_logits_CV = _log_softmax(hidden_TD[rows], head_VD, ctx.scale).exp_()
            grad_C = grad_T[rows, None] * ctx.scale
            grad_logits_CV.mul_(-grad_C).scatter_add_(1, target_T[rows, None], grad_C)
            grad_logits_CV = grad_logits_CV.to(hidden_TD.dtype)
            grad_hidden_TD[rows] = grad_logits_CV @ head_VD
            if grad_head_VD is not None:
                grad_head_VD += grad_logits_CV.T @ hidden_TD[rows]
        grad_head_VD = grad_head_VD.to(head_VD.dtype) if grad_head_VD is not None else None
        return grad_hidden_TD, grad_head_VD, None, None, None
