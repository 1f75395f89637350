"""The learner as `[learner]` says."""

from transformers import PreTrainedModel

from rstar2.config import RunConfig
from rstar2.learner.learner import TorchLearner


def new_learner(config: RunConfig, model: PreTrainedModel) -> TorchLearner:
    section = config.learner
    return TorchLearner(
        model,
        micro_batch_tokens=section.micro_batch_tokens,
        betas=section.betas,
        weight_decay=section.weight_decay,
        grad_clip=section.grad_clip,
        clip_low=section.clip_low,
        clip_high=section.clip_high,
        importance_cap=section.importance_cap,
        logprob_chunk_tokens=section.logprob_chunk_tokens,
        bf16=section.bf16,
    )
