"""A small tokenizer with our chat template, made once."""

import pytest

from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def template() -> Template:
    """Its prompts are short: a rollout of few tokens has room for several turns."""
    tokenizer = train_tokenizer(["What is 2 times 3?"] * 9, vocab_size=300, chat_template=chatml_template())
    return Template(tokenizer, system="", user="{question}", tools=())
