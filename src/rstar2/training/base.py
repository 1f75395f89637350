"""The identity of the tiny base: its tokenizer, and a name that changes whenever its making changes."""

import hashlib
import json
import random
from pathlib import Path

import rstar2.corpus as corpus
from rstar2.config import RunConfig
from rstar2.corpus.documents import document
from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, load_tokenizer, train_tokenizer
from rstar2.training.supervised import kinds
from rstar2.types import Problem

TOKENIZER_DOCUMENTS = 3000


def base_key(config: RunConfig) -> str:
    """16 hex digits over everything that the base depends on: sections, tasks, corpus source, template."""
    sources = sorted(Path(corpus.__file__).parent.glob("*.py"))
    parts = [
        config.pretraining.model_dump_json(),
        config.model.tiny.model_dump_json(),
        json.dumps(config.problems.model_dump(mode="json")["tasks"], sort_keys=True),
        config.protocol.model_dump_json(),
        config.learner.model_dump_json(),
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
    return train_tokenizer(
        [*texts, *_chat_samples(config, texts)],
        vocab_size=config.model.tiny.vocab_size,
        chat_template=chatml_template(),
    )


def _chat_samples(config: RunConfig, texts: list[str]) -> list[str]:
    """A few hundred rendered prompts, so that the fixed words of the template become single tokens."""
    blank = train_tokenizer([], vocab_size=300, chat_template=chatml_template())
    template = Template(blank, system=config.protocol.system, user=config.protocol.user)
    rendered = template.render(template.opening(""), add_generation_prompt=True)
    call = (
        '<tool_call>{"name": "execute_python_code_with_standard_io", "arguments": {"code": "", "input": ""}}'
    )
    return [rendered, call + "</tool_call><answer>\\boxed{}</answer>"] * (len(texts) // 10)
