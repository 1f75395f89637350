import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rstar2 import checkpoint
from rstar2.config import parse_config
from rstar2.protocol.template import Template, call_text
from rstar2.training import base
from rstar2.training.base import base_key, keep_base, tiny_tokenizer
from rstar2.types import Problem

PROBLEMS = [
    Problem(id=str(i), question=f"Find the GCD of {6 * i}, {9 * i}.", answer=str(3 * i), task="gcd")
    for i in range(1, 20)
]


def test_the_name_of_a_base_changes_with_what_it_is_made_from_and_with_nothing_else() -> None:
    key = base_key(parse_config({}))
    elsewhere = {"run": {"seed": 5}, "sft": {"steps": 1}, "engine": {"max_running": 3}}
    later = {"learner": {"importance_cap": 2.0, "clip_high": 0.3}}
    layout = {"num_ranks": 2, "hang_limit_s": 9, "micro_batch_tokens": 100, "logprob_chunk_tokens": 7}
    for same in (elsewhere, later, {"learner": layout}):
        assert base_key(parse_config(same)) == key
    others = [
        {"pretraining": {"steps": 7}},
        {"pretraining": {"mixture": {"right": 0.3}}},
        {"model": {"tiny": {"num_layers": 1}}},
        {"problems": {"tasks": {"gcd": {"max_value": 9}}}},
        {"protocol": {"user": "{question}!"}},
        {"learner": {"weight_decay": 0.1}},
    ]
    assert len({key, *(base_key(parse_config(other)) for other in others)}) == 1 + len(others)


def test_the_tokenizer_is_made_once_and_then_taken_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "TOKENIZER_DOCUMENTS", 60)
    config = parse_config({"model": {"tiny": {"vocab_size": 500}}})
    made = tiny_tokenizer(config, PROBLEMS, tmp_path / "base" / "tokenizer")
    monkeypatch.setattr(base, "train_tokenizer", None)
    kept = tiny_tokenizer(config, PROBLEMS, tmp_path / "base" / "tokenizer")
    text = call_text("print(12 * 34)") + "<|im_end|>"
    assert kept.encode(text) == made.encode(text)
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["tokenizer"]
    Template(kept, system="", user="{question}")


def test_a_tokenizer_that_a_kill_left_half_written_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "TOKENIZER_DOCUMENTS", 60)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text("{")
    made = tiny_tokenizer(parse_config({}), PROBLEMS, tmp_path / "tokenizer")
    kept = tiny_tokenizer(parse_config({}), PROBLEMS, tmp_path / "tokenizer")
    assert kept.encode("Find the GCD") == made.encode("Find the GCD")


def save_as(name: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "weights").write_text(name)

    return save


_SECOND_RUN = """
import sys
from pathlib import Path
from rstar2.training.base import keep_base
keep_base(Path(sys.argv[1]), steps=7, save=lambda folder: (folder / "weights").write_text("second"))
"""


def test_two_runs_that_make_the_same_base_at_once_keep_the_first_one_that_is_done(tmp_path: Path) -> None:
    def save_while_another_run_does(folder: Path) -> None:
        (folder / "weights").write_text("first")
        subprocess.run([sys.executable, "-c", _SECOND_RUN, str(tmp_path)], check=True)
        (folder / "optimizer").write_text("first")

    keep_base(tmp_path, steps=7, save=save_while_another_run_does)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert [path.name for path in tmp_path.iterdir()] == [found.path.name]
    assert (found.path / "weights").read_text() == "second"


def test_a_torn_base_is_replaced(tmp_path: Path) -> None:
    keep_base(tmp_path, steps=7, save=save_as("old"))
    (torn,) = tmp_path.glob("step-*/weights")
    torn.write_text("torn")
    keep_base(tmp_path, steps=7, save=save_as("new"))
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.path / "weights").read_text() == "new"
