"""A small tokenizer with our chat template, made once."""

import pytest

from rstar2.protocol.template import Template, call_text, chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, train_tokenizer

TEXTS = [call_text("print(2 * 3)"), "Question: what is 2 times 3?\nAnswer: 6\n"] * 20


@pytest.fixture(scope="session")
def tokenizer() -> HuggingFaceTokenizer:
    return train_tokenizer(TEXTS, vocab_size=400, chat_template=chatml_template())


@pytest.fixture(scope="session")
def template(tokenizer: HuggingFaceTokenizer) -> Template:
    return Template(tokenizer, system="", user="{question}")
