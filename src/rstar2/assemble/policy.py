"""The policy that a run starts from: a tokenizer and a model, given or built from nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.models.loading import build_tiny, load_model
from rstar2.problems.gym import draw
from rstar2.protocol.template import chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, load_tokenizer, speak_chatml
from rstar2.training.base import base_key, tiny_tokenizer
from rstar2.types import Problem

CACHE = Path("~/.cache/rstar2")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Policy:
    """What a run starts from."""

    tokenizer: HuggingFaceTokenizer
    _load_model: Callable[[], PreTrainedModel]
    checkpoint: str | None
    """Folder or hub id of the model; None if it is built from nothing."""
    base_cache: Path | None = None
    """Where the pre-trained tiny base is kept between runs; None if the model came from elsewhere."""
    corpus: tuple[Problem, ...] = ()
    """The problems that the tiny base's text is about."""

    @cached_property
    def model(self) -> PreTrainedModel:
        """In this process, once somebody wants it: engines elsewhere read the checkpoint themselves."""
        return self._load_model()


def load_policy(config: RunConfig) -> Policy:
    """The checkpoint that `model.base` names, or the tiny model with random weights."""
    transformers_logging.disable_progress_bar()  # its bars and advice would tear ours apart
    transformers_logging.set_verbosity_error()
    if config.model.base != "tiny":
        tokenizer = load_tokenizer(config.model.base)
        if config.protocol.template == "chatml":
            speak_chatml(tokenizer, chatml_template())
        return Policy(tokenizer, partial(_load_base, config, tokenizer), config.model.base)
    if config.problems.source != "gym":
        raise ConfigError('model.base = "tiny" reads text about gym tasks: set problems.source = "gym"')
    section = config.pretraining
    corpus = draw(config.problems.tasks, split="train", size=section.num_problems, seed=section.seed + 1)
    cache = CACHE.expanduser() / f"base-{base_key(config)}"
    tokenizer = tiny_tokenizer(config, list(corpus), cache / "tokenizer")
    shape = config.model.tiny
    model = build_tiny(
        vocab_size=len(tokenizer.hf),
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        mlp_size=shape.intermediate_size,
        max_positions=shape.max_positions,
        seed=section.seed,
        initial_std=shape.initial_std,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Policy(tokenizer, lambda: model, None, cache, corpus)


def _load_base(config: RunConfig, tokenizer: HuggingFaceTokenizer) -> PreTrainedModel:
    """The checkpoint's model; ConfigError if the tokenizer has ids that it knows nothing of.

    It ends where the tokenizer ends a turn, which a base model may do elsewhere: whoever generates with an
    exported policy reads that from the model's files.
    """
    model = load_model(config.model.base, DTYPES[config.model.dtype])
    num_rows, largest_id = model.get_input_embeddings().num_embeddings, max(tokenizer.hf.get_vocab().values())
    if largest_id >= num_rows:  # more rows than tokens are usual
        raise ConfigError(
            f"the tokenizer of '{config.model.base}' has ids up to {largest_id}, and its model embeds "
            f"{num_rows} tokens: give a model.base whose files belong together"
        )
    if config.protocol.template == "chatml":
        model.config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def export(save: Callable[[Path], None], tokenizer: HuggingFaceTokenizer, folder: Path) -> None:
    """An ordinary Hugging Face checkpoint: weights and config by `save`, tokenizer, chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder)
    tokenizer.save(folder)
