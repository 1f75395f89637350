"""What would end a training run after hours is said before it begins, and to nobody who does not train."""

from pathlib import Path
from typing import Any

import pytest

from rstar2.assemble.refusals import refuse_tasks_without_attempts
from rstar2.config import load_config, parse_config
from rstar2.corpus.worked import known_tasks
from rstar2.errors import ConfigError

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
