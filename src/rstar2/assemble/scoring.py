"""A checkpoint that says how uncertain it is about tokens that were written."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rstar2.assemble.devices import device_type
from rstar2.assemble.policy import load_policy
from rstar2.config import RunConfig
from rstar2.learner.learner import TorchLearner
from rstar2.protocol.tokenizer import HuggingFaceTokenizer


@dataclass(frozen=True, slots=True)
class Scorer:
    """A policy and its tokenizer."""

    tokenizer: HuggingFaceTokenizer
    _learner: TorchLearner

    def entropies_nats(
        self, sequences: Sequence[Sequence[int]], *, temperature: float
    ) -> list[tuple[float, ...]]:
        """Of softmax(logits / temperature) at each token but the first, per sequence."""
        scores = self._learner.score(sequences, temperature=temperature)
        return [tuple(token.entropy_nats for token in of_tokens) for of_tokens in scores]


def new_scorer(config: RunConfig) -> Scorer:
    """The checkpoint `model.base`, computing in `model.dtype`: `learner.bf16` would cost the last digits."""
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    policy = load_policy(config)
    section = config.learner
    learner = TorchLearner(
        policy.model.to(device_type(section.device)),
        micro_batch_tokens=section.micro_batch_tokens,
        logprob_chunk_tokens=section.logprob_chunk_tokens,
    )
    return Scorer(policy.tokenizer, learner)
