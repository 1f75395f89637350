"""The verbs that load a model, with a tiny one and a real sandbox; child processes where signals matter."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstar2.cli import app

PROGRAM = (sys.executable, "-c", "from rstar2.cli import main; main()")

pytestmark = pytest.mark.integration


@pytest.fixture
def rstar2(tmp_path, monkeypatch):
    """Runs the program in this process, with caches of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object, stdin: str = ""):
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)

    return run


def start(*arguments: object, home: Path, **pipes: int) -> subprocess.Popen[str]:
    """Starts the program as a child that leads its own process group and hears Ctrl-C, as a shell does.

    A test run that was itself put into the background ignores the signal, and children inherit that.
    """
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        text=True,
        env=os.environ | {"HOME": str(home)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **pipes,
    )


def test_eval_measures_what_it_was_told_to(rstar2, checkpoint, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"q": f"{n} + 1?", "a": n + 1}) + "\n" for n in range(3)))
    fields = ("--question-field", "q", "--answer-field", "a", "--limit", 2)
    sampling = ("--rollouts", 4, "--temperature", 1.0, "--max-tokens", 16, "--seed", 5)
    out = tmp_path / "result.json"
    kept = tmp_path / "rollouts.jsonl"
    files = ("--out", out, "--keep", kept)
    command = ("eval", "--model", checkpoint, "--data", data, *fields, *sampling, *files)
    done = rstar2(*command)
    assert (done.exit_code, done.stderr) == (0, "")
    result = json.loads(out.read_text())
    assert list(result["pass_at_k"]) == ["1", "2", "4"]
    assert (result["num_problems"], result["num_rollouts"], result["seed"]) == (2, 8, 5)
    assert result["settings"]["max_response_tokens"] == 16
    assert result["tokens_per_rollout"] <= 16
    assert "2 problems, 8 rollouts" in done.stdout
    rollouts = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len({(r["question"], r["index"]) for r in rollouts}) == len(rollouts) == 8
    again = rstar2(*command)
    assert len(kept.read_text().splitlines()) == 8
    assert json.loads(out.read_text()) | {"wall_s": 0} == result | {"wall_s": 0}, again.stderr


def test_chat_answers_one_prompt(rstar2, checkpoint):
    done = rstar2("chat", "--model", checkpoint, "--prompt", "6 * 7?")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "answer" in done.stdout.splitlines()[-1]


def test_chat_answers_every_line_that_says_something_and_ends_with_its_input(rstar2, checkpoint):
    done = rstar2("chat", "--model", checkpoint, stdin="6 * 7?\n\n[bold]6 + 7?\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert sum(line.startswith(("answer", "no answer")) for line in done.stdout.splitlines()) == 2


def test_ctrl_c_at_the_prompt_ends_a_chat_without_a_traceback(checkpoint, tmp_path):
    ours, theirs = pty.openpty()
    child = start("chat", "--model", checkpoint, home=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = b""
    while b"> " not in screen:
        screen += os.read(ours, 4096)
    time.sleep(0.5)  # readline misses a signal in the instant between its prompt and its first read
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(timeout=30) == 0
    assert b"Traceback" not in screen + os.read(ours, 4096)
    os.close(ours)


def test_train_ends_with_a_table_samples_and_what_to_do_next(rstar2, config_file, tmp_path):
    done = rstar2("train", config_file, "--run", tmp_path / "run")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("base  ", "sft  ", "rl1  "))] == [
        "base",
        "sft",
        "rl1",
    ]
    assert f"rstar2 report {tmp_path / 'run'}" in done.stdout
    assert f"rstar2 chat --model {tmp_path / 'run/models/rl1'}" in done.stdout
    assert any(line.startswith("wrong") for line in lines)
    assert rstar2("report", tmp_path / "run").exit_code == 0


def test_ctrl_c_stops_training_with_one_line_that_says_how_to_go_on(config_file, tmp_path):
    run = tmp_path / "run"
    command = ("train", config_file, "--run", run, "-s", "stages.0.steps=500")
    child = start(*command, home=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    metrics, deadline = run / "metrics.jsonl", time.monotonic() + 60
    while not (metrics.exists() and '"rl1"' in metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (130, "\nstopped; run the same command to go on\n")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["protocol.user=no place for it"], "must contain {question}"),
        (["protocol.template=checkpoint", "model.base={model}"], "not prefix-stable"),
        (
            ["problems.source=files", "problems.train_files=['{empty}']", "problems.test_files=['{empty}']"],
            "no usable row",
        ),
    ],
)
def test_what_only_shows_when_loading_leaves_nothing_behind_either(
    rstar2, checkpoint, config_file, tmp_path, settings, complaint
):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    model = tmp_path / "model"
    model.mkdir()
    for file in checkpoint.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content | trim }}|{% endfor %}")
    filled = [s.replace("{model}", str(model)).replace("{empty}", str(empty)) for s in settings]
    overrides = [part for setting in filled for part in ("-s", setting)]
    done = rstar2("train", config_file, "--run", tmp_path / "run", *overrides)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert complaint in done.stderr
    assert not (tmp_path / "run").exists()
