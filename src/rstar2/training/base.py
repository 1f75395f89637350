"""The tiny base between runs: its tokenizer, its cache, and a name that changes whenever its making does."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import rstar2.corpus as corpus
from rstar2 import checkpoint
from rstar2.config import RunConfig
from rstar2.corpus.documents import document, pick_kind
from rstar2.corpus.worked import attempts
from rstar2.protocol.template import Template, call_text, chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, load_tokenizer, train_tokenizer
from rstar2.training.supervised import kinds
from rstar2.types import Problem

TOKENIZER_DOCUMENTS = 3000
_NOT_OF_THE_BASE = {
    *("num_ranks", "device", "hang_limit_s", "micro_batch_tokens", "logprob_chunk_tokens"),
    *("lora", "clip_low", "clip_high", "importance_cap"),
}
"""Keys of `[learner]` that lay out its making, and those that only later phases know."""


def base_key(config: RunConfig) -> str:
    """16 hex digits over everything that the base depends on: sections, tasks, corpus source, template."""
    sources = sorted(Path(corpus.__file__).parent.glob("*.py"))
    parts = [
        config.pretraining.model_dump_json(),
        config.model.tiny.model_dump_json(),
        json.dumps(config.problems.model_dump(mode="json")["tasks"], sort_keys=True),
        config.protocol.model_dump_json(),
        config.learner.model_dump_json(exclude=_NOT_OF_THE_BASE),
        f"checkpoint {checkpoint.FORMAT}",
        chatml_template(),
        *(path.read_text(encoding="utf-8") for path in sources),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def tiny_tokenizer(config: RunConfig, problems: list[Problem], folder: Path) -> HuggingFaceTokenizer:
    """The BPE of the tiny model, trained on a sample of its text; kept in `folder` once made."""
    if (folder / "tokenizer.json").exists():
        return load_tokenizer(str(folder))
    rng = random.Random(f"{config.pretraining.seed}/tokenizer")
    proportions = kinds(config.pretraining.mixture)
    texts = [
        document(problems, proportions=proportions, copy_share=config.pretraining.copy_share, rng=rng)
        for _ in range(TOKENIZER_DOCUMENTS)
    ]
    tokenizer = train_tokenizer(
        [*texts, *_chat_samples(config, problems, rng)],
        vocab_size=config.model.tiny.vocab_size,
        chat_template=chatml_template(),
    )
    _keep(tokenizer, folder)
    return tokenizer


def vocabulary_hash(tokenizer: HuggingFaceTokenizer) -> str:
    """16 hex digits over what each id stands for."""
    vocabulary = json.dumps(sorted(tokenizer.hf.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


def _keep(tokenizer: HuggingFaceTokenizer, folder: Path) -> None:
    """Written aside and renamed: a kill leaves a whole tokenizer or none."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    tokenizer.save(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def keep_base(cache: Path, *, steps: int, save: Callable[[Path], None]) -> None:
    """Put the pre-trained weights into the cache, which runs that made the same ones may fill at this moment.

    The first one stays, since others may be reading it; only a torn one is replaced.
    """
    aside = cache / f".{os.getpid()}.partial"
    try:
        made = checkpoint.write(aside, step=steps, state={}, save=save)
        _put(made, cache)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(made: Path, cache: Path) -> None:
    final = cache / made.name
    try:
        made.rename(final)
    except OSError:  # one is there
        if checkpoint.latest(cache) is None:
            shutil.rmtree(final)
            made.rename(final)


def _chat_samples(config: RunConfig, problems: list[Problem], rng: random.Random) -> list[str]:
    """Rendered prompts, calls and pairs of digits: what must not fall apart into single bytes."""
    blank = train_tokenizer([], vocab_size=300, chat_template=chatml_template())
    template = Template(blank, system=config.protocol.system, user=config.protocol.user)
    proportions = kinds(config.pretraining.mixture)
    samples = []
    for problem in rng.sample(problems, min(len(problems), TOKENIZER_DOCUMENTS // 10)):
        code = attempts(problem.task, problem.question).pick(pick_kind(proportions, rng), rng)
        samples.append(template.render(template.opening(problem.question), add_generation_prompt=True))
        samples.append(call_text(code) + "</tool_call><answer>\\boxed{}</answer>")
    # Every pair of digits gets its token: numbers that are cut alike are copied more easily.
    return samples + [f"{number:02}" for number in range(100)] * TOKENIZER_DOCUMENTS
