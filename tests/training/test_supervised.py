"""SFT's steps never run dry amid the phase."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from rstar2.config import parse_config
from rstar2.errors import DataError
from rstar2.protocol.template import Template
from rstar2.training.conversations import drawn
from rstar2.training.parts import Parts, SilentWatcher
from rstar2.training.supervised import SamplesOfStep, sft_samples

NUM_STEPS = 7


def steps_over(answers: list[str], template: Template, folder: Path) -> SamplesOfStep:
    """Two conversations a step, of at most 200 tokens each."""
    file = folder / "sft.jsonl"
    lines = [
        {
            "tools": [],
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}],
        }
        for answer in answers
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    section = {"files": [str(file)], "steps": NUM_STEPS, "samples_per_step": 2, "max_tokens": 200}
    config = parse_config({"sft": section})
    parts = SimpleNamespace(config=config, template=template, watcher=SilentWatcher())
    samples_of, _ = sft_samples(cast(Parts, parts))
    return samples_of


def test_a_step_that_draws_long_conversations_alone_learns_from_those_of_the_next(
    template: Template, tmp_path: Path
) -> None:
    """Of 5, one fits; a step draws 2 of them, so most steps would have nothing."""
    samples_of = steps_over(["yes", *["no" * 199] * 4], template, tmp_path)
    with_the_short_one = [0 in drawn(5, step=step, count=2, seed=0) for step in range(NUM_STEPS)]
    assert 0 < sum(with_the_short_one) < NUM_STEPS
    texts = [[template.tokenizer.decode(s.token_ids) for s in samples_of(step)] for step in range(NUM_STEPS)]
    assert all(len(text) == 1 and text[0].endswith("yes<|im_end|>") for text in texts)


def test_conversations_of_which_none_fits_are_refused_by_the_first_step(
    template: Template, tmp_path: Path
) -> None:
    samples_of = steps_over(["no" * 199] * 5, template, tmp_path)
    with pytest.raises(DataError, match=r"no conversation of sft\.files has 200 tokens or fewer"):
        samples_of(0)
