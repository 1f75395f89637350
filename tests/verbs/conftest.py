"""A checkpoint of a tiny model with random weights, for verbs that need a real one; and a rival of ours."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from rstar2.protocol.template import chatml_template
from rstar2.protocol.tokenizer import train_tokenizer

CONFIG = """
[run]
threads = 1
[problems]
num_train = 20
num_test = 4
[problems.tasks]
products = {}
[model.tiny]
hidden_size = 32
num_layers = 2
num_heads = 2
num_kv_heads = 1
head_dim = 16
intermediate_size = 64
vocab_size = 400
[pretraining]
steps = 2
documents_per_step = 2
num_problems = 20
[sft]
steps = 1
samples_per_step = 2
[engine]
kv_tokens = 20000
[sandbox]
workers = 1
[evaluation]
rollouts = 2
max_response_tokens = 24
max_turns = 2
[[stages]]
name = "rl1"
steps = 1
problems_per_step = 2
oversample = 4
group_size = 2
max_response_tokens = 24
max_turns = 2
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "mini.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside a run's config, as `rstar2 train` leaves it."""
    from rstar2.models.loading import build_tiny

    run = tmp_path_factory.mktemp("run")
    (run / "config.toml").write_text(CONFIG)
    folder = run / "models" / "rl1"
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(["print(6 * 7)"], vocab_size=400, chat_template=chatml_template())
    tokenizer.save(folder)
    model = build_tiny(
        vocab_size=len(tokenizer.hf),
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=16,
        mlp_size=64,
        max_positions=2048,
        seed=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(folder)
    return folder


# Holds the folder until it is killed; a child that it forked meanwhile lives on.
_HOLDER = """
import os, sys, time
from pathlib import Path
from rstar2.verbs.alone import alone_in
with alone_in(Path(sys.argv[1]), deed="trains in", option="--run"):
    if child := os.fork():
        print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def another_process_in() -> Callable[[Path], AbstractContextManager["subprocess.Popen[bytes]"]]:
    """Alone in that folder meanwhile."""

    @contextmanager
    def holding(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
        command = [sys.executable, "-c", _HOLDER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            orphan = int(holder.stdout.readline())
            try:
                yield holder
            finally:
                holder.kill()
                os.kill(orphan, signal.SIGKILL)

    return holding
