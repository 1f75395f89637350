"""The supervised phases: pre-training of the tiny base on generated text, and non-reasoning SFT.

Each is a pure function from a step's number to its samples: nothing but the number needs to be
remembered to go on.
"""

import random
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import TypeAlias

from rstar2.config import AttemptMixture
from rstar2.corpus.documents import document
from rstar2.corpus.worked import Kind
from rstar2.errors import DataError
from rstar2.training.conversations import drawn, read_conversations
from rstar2.training.demonstrations import Demonstrator, instruction
from rstar2.training.parts import Parts
from rstar2.training.sft import (
    conversation_sample,
    dialogue_sample,
    text_sample,
    with_shared_opening,
)
from rstar2.types import TrainSample

SamplesOfStep: TypeAlias = Callable[[int], list[TrainSample]]
INSTRUCTION_SHARE = 0.1
"""Of generated SFT samples: plain instructions that need no tool."""


def pretraining_samples(parts: Parts) -> SamplesOfStep:
    """Documents of each step."""
    section = parts.config.pretraining
    tokenizer = parts.template.tokenizer
    proportions = kinds(section.mixture)

    def samples(step: int) -> list[TrainSample]:
        rng = random.Random(f"{section.seed}/pretraining/{step}")
        texts = (
            document(parts.corpus, proportions=proportions, copy_share=section.copy_share, rng=rng)
            for _ in range(section.documents_per_step)
        )
        return [text_sample(tokenizer.encode(f"<|endoftext|>{text}<|endoftext|>")) for text in texts]

    return samples


def sft_samples(parts: Parts) -> tuple[SamplesOfStep, int]:
    """(conversations of each step, how many steps): from files if given, else generated demonstrations."""
    section = parts.config.sft
    if section.files:
        return _from_files(parts)
    draw = _generated(parts)

    def samples(step: int) -> list[TrainSample]:
        rng = random.Random(f"{parts.config.run.seed}/sft/{step}")
        return with_shared_opening([draw(rng) for _ in range(section.samples_per_step)])

    return samples, section.steps


def kinds(mixture: AttemptMixture) -> dict[Kind, float]:
    return {Kind.RIGHT: mixture.right, Kind.WRONG: mixture.wrong, Kind.BROKEN: mixture.broken}


def _generated(parts: Parts) -> Callable[[random.Random], TrainSample]:
    section = parts.config.sft
    demonstrator = Demonstrator(
        proportions=kinds(section.mixture),
        malformed_share=section.malformed_share,
        retry_share=section.retry_share,
        mended_share=section.mended_share,
        tool_response_chars=parts.config.protocol.tool_response_chars,
        parse=parts.tools.parse,
    )
    has_tool = "python" in parts.config.tools.enabled
    demonstrate = demonstrator.conversation if has_tool else demonstrator.bare_answer

    def draw(rng: random.Random) -> TrainSample:
        if rng.random() < INSTRUCTION_SHARE:
            return dialogue_sample(parts.template, *instruction(rng))
        problem = rng.choice(parts.train)
        return dialogue_sample(parts.template, problem.question, demonstrate(problem, rng))

    return draw


def _from_files(parts: Parts) -> tuple[SamplesOfStep, int]:
    """Conversations that are too long are left out of their step, which then has fewer.

    If none is left, the step learns from those of the next one that has some. Steps enough to hold two passes
    hold one that begins with a pass: then no conversation fits at all, which the first step finds out.
    """
    section, seed = parts.config.sft, parts.config.run.seed
    conversations = [c for name in section.files for c in read_conversations(Path(name))]
    steps = section.num_steps(len(conversations))
    steps_of_two_passes = ceil(2 * len(conversations) / section.samples_per_step)
    parts.watcher.line(f"sft: {len(conversations)} conversations, {steps} steps")

    def samples(step: int) -> list[TrainSample]:
        for place in range(step, step + steps_of_two_passes):
            chosen = drawn(len(conversations), step=place, count=section.samples_per_step, seed=seed)
            made = [conversation_sample(parts.template, conversations[i]) for i in chosen]
            if fitting := [sample for sample in made if len(sample.token_ids) <= section.max_tokens]:
                return with_shared_opening(fitting)
        raise DataError(
            f"no conversation of sft.files has {section.max_tokens} tokens or fewer: raise sft.max_tokens"
        )

    return samples, steps
