"""`rstar2 eval --benchmark` with a tiny model and a real sandbox."""

import json

import pytest
from typer.testing import CliRunner

from rstar2.cli import app
from rstar2.config import parse_config
from rstar2.evaluation.benchmarks import benchmark
from rstar2.verbs.benchmark import _settings

pytestmark = pytest.mark.integration


@pytest.fixture
def rstar2(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "aime.jsonl"
    rows = [
        {"id": n, "problem": f"What is {n} + 1, as everybody knows?", "answer": str(n + 1)} for n in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_benchmark_is_played_compared_and_gone_on_with(rstar2, checkpoint, file, tmp_path):
    known = tmp_path / "train.jsonl"
    known.write_text(json.dumps({"question": "What is 2 + 1, as everybody knows?", "answer": "3"}) + "\n")
    folder = tmp_path / "out"
    command = (
        "eval", "--model", checkpoint, "--benchmark", "aime24", "--file", file, "--folder", folder,
        "--rollouts", 2, "--max-tokens", 24, "--against", known,
    )  # fmt: skip
    first = rstar2(*command, "--limit", 2)
    assert (first.exit_code, first.stderr) == (0, "")
    kept = {path.name: path.read_text() for path in folder.glob("*.jsonl")}
    assert sorted(kept) == ["0000-0.jsonl", "0001-1.jsonl"]
    whole = rstar2(*command)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert {name: (folder / name).read_text() for name in kept} == kept
    lines = whole.stdout.splitlines()
    assert any("AIME 2024" in line and "avg@2" in line for line in lines)
    assert any(line.startswith("rStar2-Agent-14B") and "80.6%" in line and "9340" in line for line in lines)
    assert "3 problems, 6 rollouts, 0 lost" in lines
    assert "only 3 of 30 problems: not to be compared with the published scores" in lines
    assert "1 of 3 problems share eight words in a row with the training problems" in lines
    assert any(line.startswith("without them: ") for line in lines)
    score = json.loads((folder / "score.json").read_text())
    assert (score["contaminated"], score["settings"]["temperature"]) == (["2"], 0.6)
    assert (score["scores"]["all"]["num_problems"], score["scores"]["clean"]["num_problems"]) == (3, 2)
    files = [f'problems.{split}_files=["gone.jsonl"]' for split in ("train", "validation", "test")]
    elsewhere = rstar2(
        *command, *(word for file in ("problems.source=files", *files) for word in ("-s", file))
    )
    assert (elsewhere.exit_code, elsewhere.stderr) == (0, "")
    assert "contamination by gone.jsonl not checked: it is not here" in elsewhere.stdout.splitlines()
    other = rstar2(*command, "--temperature", 1.0)
    assert other.exit_code == 2
    assert "temperature is 0.6 there and 1.0 here" in other.stderr


@pytest.fixture
def again(rstar2, checkpoint, file, tmp_path):
    """Goes on in a folder in which nothing was played yet, and plays nothing there either."""
    command = (
        "eval", "--model", checkpoint, "--benchmark", "aime24", "--file", file, "--max-tokens", 24,
        "--folder", tmp_path / "out", "--against", "gone.jsonl",
    )  # fmt: skip
    rstar2(*command)
    assert (tmp_path / "out/settings.json").exists()
    return lambda override: rstar2(*command, "-s", override)


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("sandbox.time_limit_s=0.5", "sandbox"),
        ("sandbox.memory_limit_mb=64", "sandbox"),
        ("sandbox.output_limit_chars=64", "sandbox"),
        ("sandbox.grading_time_limit_s=0.1", "sandbox"),
        ("tools.enabled=[]", "tools"),
        ('tools.mcp=[{name="x", command=["true"]}]', "mcp"),
        ("engine.dtype=bfloat16", "dtype"),
    ],
)
def test_what_decides_the_numbers_may_not_change_within_a_folder(again, override, setting):
    done = again(override)
    assert done.exit_code == 2
    assert f"holds another evaluation ({setting} is" in done.stderr


def test_how_many_programs_run_at_once_may_change_within_a_folder(again):
    done = again("sandbox.workers=3")
    assert "another evaluation" not in done.stderr
    assert "gone.jsonl cannot be read" in done.stderr


def test_a_tool_server_may_move_within_a_folder():
    def settings(url, prefix=""):
        server = {"name": "search", "url": url, "prefix": prefix, "start_limit_s": 9}
        return _settings(parse_config({"tools": {"mcp": [server]}}), benchmark("aime24"))

    assert settings("http://a:8000/mcp") == settings("http://b:8001/mcp")
    assert settings("http://a:8000/mcp") != settings("http://a:8000/mcp", prefix="web_")


def test_a_folder_in_which_another_process_evaluates_is_refused(
    rstar2, checkpoint, file, tmp_path, another_process_in
):
    command = ("eval", "--model", checkpoint, "--benchmark", "aime24", "--file", file, "--max-tokens", 24)
    with another_process_in(tmp_path / "out"):
        done = rstar2(*command, "--folder", tmp_path / "out")
    assert done.exit_code == 2
    assert "another process evaluates in" in done.stderr


def test_training_problems_that_cannot_be_read_are_said_before_hours_of_rollouts(
    rstar2, checkpoint, file, tmp_path
):
    folder = tmp_path / "out"
    done = rstar2(
        "eval", "--model", checkpoint, "--benchmark", "aime24", "--file", file, "--folder", folder,
        "--rollouts", 2, "--max-tokens", 24, "--against", "gone.jsonl",
    )  # fmt: skip
    assert (done.exit_code, "gone.jsonl cannot be read" in done.stderr) == (2, True)
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--benchmark", "aime23"], "known are aime24"),
        (
            ["--benchmark", "aime24", "--data", "x.jsonl"],
            "--data, --out and --keep are not for a --benchmark",
        ),
        (
            ["--benchmark", "aime24", "--keep", "x.jsonl"],
            "--data, --out and --keep are not for a --benchmark",
        ),
        (["--folder", "x"], "--file, --folder and --against are for a --benchmark"),
        (["--benchmark", "aime24", "-k", "17", "--max-tokens", "24"], "raise --rollouts"),
        (["--benchmark", "aime24"], "engine.kv_tokens (20000) must exceed the longest response (30720)"),
    ],
)
def test_what_does_not_fit_together_is_said_before_anything_is_loaded(
    rstar2, checkpoint, file, options, complaint
):
    options = [*options, "--file", file] if "--benchmark" in options else options
    done = rstar2("eval", "--model", checkpoint, *options)
    assert done.exit_code == 2
    assert complaint in done.stderr
