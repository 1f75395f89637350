"""A training run begins with nothing that would end it later."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rstar2.assemble import training
from rstar2.config import parse_config
from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import ConfigError, DataError
from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.rollout.dispatcher import Dispatcher
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


def test_a_question_that_leaves_no_room_for_a_response_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = train_tokenizer([], vocab_size=300, chat_template=chatml_template())

    @asynccontextmanager
    async def sides(*_: Any) -> AsyncIterator[tuple[None, None, SimpleNamespace]]:
        """Players alone; whose turns nobody has written."""
        template = Template(tokenizer, system="", user="{question}", tools=())
        yield (
            None,
            None,
            SimpleNamespace(template=template, dispatcher=Dispatcher([ScriptedEngine({}, kv_tokens=300)])),
        )

    monkeypatch.setattr(training, "load_policy", lambda _: None)
    monkeypatch.setattr(training, "_sides_here", sides)
    with pytest.raises(
        ConfigError, match=r"stages\.0\.max_response_tokens = 299 make .* raise engine\.kv_tok"
    ):
        begin(
            tmp_path,
            model={"base": "tiny"},
            sft={"steps": 0},
            engine={"kv_tokens": 300},
            stages=[{"name": "rl1", "steps": 1, "max_response_tokens": 299}],
            evaluation={"max_response_tokens": 100},
        )
