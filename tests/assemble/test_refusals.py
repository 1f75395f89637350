"""What would end a training run after hours is said before it begins, and to nobody who does not train."""

from pathlib import Path
from typing import Any

import pytest

from rstar2.assemble.refusals import refuse_rollouts_without_room, refuse_tasks_without_attempts
from rstar2.config import load_config, parse_config
from rstar2.corpus.worked import known_tasks
from rstar2.errors import ConfigError
from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.types import Problem

CONFIGS = Path(__file__).parents[2] / "configs"
FROM_FILES = {"source": "files", "train_files": ["a.jsonl"], "test_files": ["b.jsonl"]}
UNKNOWN: dict[str, Any] = {"tasks": {"gcd": {}, "sudoku": {}}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"model": {"base": "x"}, "problems": FROM_FILES},
            r'"files": name sft\.files, or set sft\.steps = 0',
        ),
        ({"model": {"base": "x"}, "problems": UNKNOWN}, r"tasks\.sudoku, .*: leave it out, name sft\.files"),
        ({"problems": UNKNOWN, "sft": {"steps": 0}}, r"tasks\.sudoku, only about gcd, .*: leave it out$"),
    ],
)
def test_text_about_problems_that_nobody_has_attempted_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_tasks_without_attempts(parse_config(data))


@pytest.mark.parametrize(
    "data",
    [
        {"model": {"base": "x"}, "problems": FROM_FILES, "sft": {"steps": 0}},
        {"model": {"base": "x"}, "problems": FROM_FILES, "sft": {"files": ["c.jsonl"]}},
        {"model": {"base": "x"}, "problems": UNKNOWN, "sft": {"files": ["c.jsonl"]}},
        {"problems": {"tasks": {task: {} for task in known_tasks()}}},
    ],
)
def test_text_that_is_given_or_known_is_not(data: dict[str, Any]) -> None:
    refuse_tasks_without_attempts(parse_config(data))


@pytest.mark.parametrize("name", ["tiny", "reproduce", "qwen2.5-7b-8gpu", "qwen3-14b"])
def test_the_configs_that_come_with_the_project_have_all_their_text(name: str) -> None:
    refuse_tasks_without_attempts(load_config(CONFIGS / f"{name}.toml"))


TEMPLATE = Template(
    train_tokenizer([], vocab_size=300, chat_template=chatml_template()),
    system="",
    user="{question}",
    tools=(),
)
"""A token per character of a question, at most."""
NUM_AROUND = len(TEMPLATE.prompt(""))
"""Tokens of a prompt that are not of its question."""


def problems(*lengths: int) -> list[Problem]:
    return [Problem(id=f"p{n}", question="1" * n, answer="1") for n in lengths]


def check(*, train: int, test: int, room_tokens: int, positions: int = 2048) -> None:
    """Questions of so many tokens; responses of 30 and 50 in training, of 70 in evaluation."""
    stages = [{"name": f"rl{n}", "steps": 1, "max_response_tokens": n} for n in (50, 30)]
    data = {
        "model": {"tiny": {"max_positions": positions}},
        "evaluation": {"max_response_tokens": 70},
        "stages": stages,
    }
    refuse_rollouts_without_room(
        parse_config(data),
        TEMPLATE,
        train=problems(5, train, 7),
        test=problems(7, test),
        room_tokens=room_tokens,
    )


def test_a_prompt_fits_with_the_longest_response_after_it_or_is_named() -> None:
    check(train=100, test=80, room_tokens=NUM_AROUND + 150)
    too_long = rf"'p101', {NUM_AROUND + 101} tokens, and stages\.0\.max_response_tokens = 50 make "
    remedy = rf"an engine holds {NUM_AROUND + 150}: raise engine\.kv_tokens to {NUM_AROUND + 151} or more"
    with pytest.raises(ConfigError, match=f"{too_long}.*{remedy}"):
        check(train=101, test=80, room_tokens=NUM_AROUND + 150)
    with pytest.raises(ConfigError, match=r"'p81', .* and evaluation\.max_response_tokens = 70 make"):
        check(train=100, test=81, room_tokens=NUM_AROUND + 150)


def test_a_rollout_that_leaves_the_models_positions_is_refused_whatever_the_room() -> None:
    positions = NUM_AROUND + 150
    check(train=100, test=80, room_tokens=9999, positions=positions)
    with pytest.raises(ConfigError, match=rf"model has {positions} positions: lower stages\.0\.max_resp"):
        check(train=101, test=80, room_tokens=9999, positions=positions)
