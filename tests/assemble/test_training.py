"""A training run begins with nothing that would end it later."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rstar2.assemble import training
from rstar2.config import parse_config
from rstar2.errors import ConfigError, DataError
from rstar2.training.parts import SilentWatcher

CONVERSATION = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def rows(path: Path, *lines: object) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


def begin(folder: Path, **sections: Any) -> None:
    """A run of a base and problems from files, up to its first step."""
    files = {
        "train_files": [rows(folder / "train.jsonl", {"question": "How much is 2+3?", "answer": 5})],
        "test_files": [rows(folder / "test.jsonl", {"question": "And 7 times 11?", "answer": 77})],
    }
    data = {"model": {"base": "some/model"}, "problems": {"source": "files", **files}, **sections}

    async def parts() -> None:
        async with training.training_parts(parse_config(data), folder / "run", SilentWatcher()):
            pass

    asyncio.run(parts())


@pytest.fixture
def no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("the policy was loaded")

    monkeypatch.setattr(training, "load_policy", load)


@pytest.mark.usefixtures("no_policy")
def test_sft_that_has_nothing_to_learn_from_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name sft\.files, or set sft\.steps = 0"):
        begin(tmp_path)


def test_a_line_that_sft_could_not_read_is_named_before_any_part_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "problem_sets", None)
    files = [rows(tmp_path / name, CONVERSATION, *more) for name, more in (("a", ()), ("b", ({},)))]
    with pytest.raises(DataError, match=r"b:2: expected"):
        begin(tmp_path, sft={"files": files})
