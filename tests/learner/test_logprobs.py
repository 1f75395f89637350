import pytest
import torch

from rstar2.learner.logprobs import token_logprobs

T, D, V = 7, 5, 11


@pytest.mark.parametrize("chunk_tokens", [1, 3, 100])
def test_chunks_equal_the_whole_log_softmax_in_value_and_gradient(chunk_tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(T, D, generator=generator, requires_grad=True)
    head = torch.randn(V, D, generator=generator, requires_grad=True)
    target = torch.randint(V, (T,), generator=generator)
    weights = torch.randn(T, generator=generator)
    whole = (hidden @ head.T / 0.7).log_softmax(-1)
    logprobs, entropy = token_logprobs(hidden, head, target, temperature=0.7, chunk_tokens=chunk_tokens)
    torch.testing.assert_close(logprobs, whole[range(T), target])
    torch.testing.assert_close(entropy, -(whole.exp() * whole).sum(-1))
    assert not entropy.requires_grad
    ours = torch.autograd.grad((logprobs * weights).sum(), (hidden, head))
    theirs = torch.autograd.grad((whole[range(T), target] * weights).sum(), (hidden, head))
    torch.testing.assert_close(ours, theirs)


def test_a_uniform_policy_has_the_entropy_of_its_vocabulary() -> None:
    logprobs, entropy = token_logprobs(torch.zeros(2, D), torch.ones(V, D), torch.tensor([0, 4]))
    expected = torch.tensor(float(V)).log()
    torch.testing.assert_close(entropy, expected.expand(2))
    torch.testing.assert_close(logprobs, -expected.expand(2))
