"""The learner as `[learner]` says: in this process, or on ranks of its own."""

import copy
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import torch
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel

from rstar2.assemble.devices import device_type
from rstar2.assemble.policy import load_policy
from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.learner.adapters import Lora
from rstar2.learner.crew import CrewLearner
from rstar2.learner.fsdp import FsdpLearner
from rstar2.learner.learner import LearnerOptions, TorchLearner
from rstar2.learner.processes import ProcessCrew
from rstar2.learner.sharding import Sharding
from rstar2.models.loading import load_skeleton


@contextmanager
def learning(config: RunConfig, model: PreTrainedModel) -> Iterator[TorchLearner | CrewLearner]:
    """The learner; on leaving, its ranks are ended. In this process it takes the model over."""
    section = config.learner
    if not section.num_ranks:
        # A step of 1e-6 is less than bfloat16 can add to most weights. Engines copy the plain model later.
        own = copy.deepcopy(model) if section.lora.rank else model.float()
        yield TorchLearner(own.to(device_type(section.device)), **learner_options(config))
        return
    device = device_type(section.device)
    if device == "cuda" and section.num_ranks > (num_gpus := torch.cuda.device_count()):
        raise ConfigError(
            f"learner.num_ranks = {section.num_ranks}, but this machine has {num_gpus} GPUs: "
            "lower it, or give more machines by --cluster"
        )
    crew = ProcessCrew(
        partial(build_rank, config),
        section.num_ranks,
        device_type=device,
        hang_limit_s=section.hang_limit_s,
    )
    with closing(crew):
        yield CrewLearner(crew)


def build_rank(config: RunConfig, rank: int, num_ranks: int) -> FsdpLearner:
    """One rank, where it lives, once all have joined their process group."""
    torch.set_num_threads(max(1, (config.run.threads or os.cpu_count() or 1) // num_ranks))
    sharding = Sharding(
        mesh=init_device_mesh(device_type(config.learner.device), (num_ranks,)),
        checkpoint_activations=config.cluster.checkpoint_activations,
        offload_optimizer=config.cluster.offload_optimizer,
    )
    base = config.model.base
    model = load_policy(config).model if rank == 0 or base == "tiny" else load_skeleton(base)
    return FsdpLearner(model, sharding, **learner_options(config))


def learner_options(config: RunConfig) -> LearnerOptions:
    """What `[learner]` says alike for one process and for ranks."""
    section, lora = config.learner, config.learner.lora
    return LearnerOptions(
        micro_batch_tokens=section.micro_batch_tokens,
        betas=section.betas,
        weight_decay=section.weight_decay,
        grad_clip=section.grad_clip,
        clip_low=section.clip_low,
        clip_high=section.clip_high,
        importance_cap=section.importance_cap,
        logprob_chunk_tokens=section.logprob_chunk_tokens,
        bf16=section.bf16,
        lora=Lora(rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=config.run.seed)
        if lora.rank
        else None,
    )
