"""The contract of the command line: exit codes, one sentence per error, nothing half-written."""

import json
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rstar2.cli import app
from rstar2.errors import CheckpointError, DataError


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every verb and group below the program, as it is typed."""
    for name, child in getattr(command, "commands", {}).items():
        yield " ".join([*path, name]), child
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.fixture
def run():
    """Runs the program in this process."""

    def _run(*arguments: str):
        return CliRunner().invoke(app, list(arguments))

    return _run


def _stand_in(monkeypatch, verb: str, names: str, action) -> None:
    """Put `action` in the place of a verb's functions, so that its heavy imports are never reached."""
    module = ModuleType(verb)
    for name in names.split():
        setattr(module, name, action)
    monkeypatch.setitem(sys.modules, f"rstar2.verbs.{verb}", module)


def raising(error: BaseException):
    def action(*arguments, **options):
        raise error

    return action


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mini.toml"
    path.write_text("[sft]\nsteps = 2\n")
    return path


def test_there_is_a_verb_for_each_thing_that_a_person_wants():
    assert ", ".join(COMMANDS) == (
        "train, plan, simulate, report, analyze, view, reproduce, eval, chat, serve, doctor, "
        "data, data check, data prepare, sandbox, sandbox serve, sandbox bench, sandbox probe"
    )


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_explains_itself(run, verb):
    result = run(*verb.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: rstar2 {verb}" in result.output.replace("root", "rstar2")


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_says_in_a_sentence_what_it_is(verb):
    for parameter in COMMANDS[verb].params:
        text = parameter.help
        assert text.endswith("."), text
        assert "[" not in text, f"swallowed as markup; a default is said by show_default: {text}"


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['rstar2', '--help']\n"
        "import atexit, rstar2.cli\n"
        "heavy = {'torch', 'transformers', 'numpy', 'reasoning_gym', 'pydantic'}\n"
        "atexit.register(lambda: print('loaded:', *heavy & sys.modules.keys(), file=sys.stderr))\n"
        "rstar2.cli.main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr.strip()) == (0, "loaded:")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < 0.5  # not wall time, which says more about what else this machine does


def test_the_version_is_that_of_the_package(run):
    result = run("--version")
    assert (result.exit_code, result.output.split()[0]) == (0, "rstar2")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "missing.toml"], "there is no config file 'missing.toml'"),
        (["eval", "--model", "/missing"], "there is no checkpoint '/missing'"),
        (["chat", "--model", "/missing"], "there is no checkpoint '/missing'"),
        (["eval", "--model", "/missing", "-k", "8"], "raise --rollouts"),
        (["report", "/missing"], "holds no run"),
        (["data", "check", "missing.jsonl"], "cannot be read"),
        (["data", "check", "missing.txt"], "neither *.jsonl nor *.parquet"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(run, arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["frobnicate"], ["eval"], ["train", "x.toml", "--bogus"]])
def test_wrong_usage_is_exit_code_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "override",
    [
        "sft.stepz=3",
        "sft.steps=-3",
        "nonsense",
        "sft.steps.deep=1",
        'sft.files=["missing.jsonl"]',
        "sft.epochs=3",
    ],
)
def test_a_bad_override_creates_nothing(run, config, tmp_path, override):
    result = run("train", str(config), "--run", str(tmp_path / "run"), "-s", override)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_resolved_config_and_creates_nothing(run, config, tmp_path):
    result = run("train", str(config), "--run", str(tmp_path / "run"), "-s", "sft.steps=7", "--dry-run")
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["sft"]["steps"] == 7
    assert "\n# tiny, " in result.stdout
    assert "\n# seconds per step" in result.stdout
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_model_of_unknown_shape_says_that_there_is_no_plan(run, config):
    result = run("train", str(config), "-s", "model.base=nobody/x", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("# There is no plan: the shape of 'nobody/x'")


@pytest.mark.parametrize(("error", "code"), [(DataError("mend it"), 2), (CheckpointError("mend it"), 1)])
def test_the_exit_code_tells_bad_input_from_a_failing_world(run, config, monkeypatch, error, code):
    _stand_in(monkeypatch, "train", "run_training", raising(error))
    result = run("train", str(config))
    assert (result.exit_code, result.stderr) == (code, "rstar2: mend it\n")


def test_ctrl_c_ends_with_one_line(run, config, monkeypatch):
    _stand_in(monkeypatch, "train", "run_training", raising(KeyboardInterrupt()))
    result = run("train", str(config))
    assert (result.exit_code, result.stderr) == (130, "\nstopped; run the same command to go on\n")


@pytest.mark.parametrize(
    ("arguments", "verb", "names", "goes_on"),
    [
        (["data", "prepare", "CONFIG", "--to", "x"], "prepare_data", "prepare_data", True),
        (["data", "check", "x.jsonl"], "check_data", "check_data", False),
        (["eval", "--model", "x", "--benchmark=aime24"], "benchmark", "asked_for examine", True),
        (["eval", "--model", "x"], "checkpoint", "playing_config", False),
    ],
)
def test_only_what_goes_on_is_said_to_go_on(run, tmp_path, monkeypatch, arguments, verb, names, goes_on):
    config = tmp_path / "empty.toml"
    config.touch()
    _stand_in(monkeypatch, verb, names, raising(KeyboardInterrupt()))
    result = run(*(str(config) if word == "CONFIG" else word for word in arguments))
    assert (result.exit_code, "go on" in result.stderr) == (130, goes_on)


def test_a_sigterm_ends_a_run_as_ctrl_c_does(config):
    """A run that waits, as a process of its own; what it has open is closed in its own time."""
    code = (
        "import asyncio, sys, types\n"
        "async def go():\n"
        "    try: print('begun', flush=True); await asyncio.sleep(60)\n"
        "    finally: await asyncio.sleep(0.01); print('closed', flush=True)\n"
        "verb = sys.modules['rstar2.verbs.train'] = types.ModuleType('train')\n"
        "verb.run_training = lambda *_, **__: asyncio.run(go())\n"
        "import rstar2.cli; rstar2.cli.main()"
    )
    command = [sys.executable, "-c", code, "train", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "begun\n"
        child.terminate()
        said = child.communicate()
    assert (child.returncode, *said) == (130, "closed\n", "\nstopped; run the same command to go on\n")


def test_a_bug_of_ours_is_not_hidden(run, config, monkeypatch):
    _stand_in(monkeypatch, "train", "run_training", raising(ZeroDivisionError()))
    assert isinstance(run("train", str(config)).exception, ZeroDivisionError)


@pytest.mark.parametrize(("is_fit", "code"), [(True, 0), (False, 1)])
def test_the_doctors_verdict_is_the_exit_code(run, monkeypatch, is_fit, code):
    _stand_in(monkeypatch, "check_machine", "check_machine", lambda: is_fit)
    assert run("doctor").exit_code == code


def test_the_report_says_where_it_is(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"phase": "base", "step": 1, "loss": 6.0}) + "\n")
    result = run("report", str(tmp_path))
    assert result.exit_code == 0
    assert "report.html" in result.stdout
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("more", [["--arm", "weighted"], ["--seeds", "5"]])
def test_the_quick_reproduction_takes_no_arms_or_seeds(run, more):
    result = run("reproduce", "--quick", *more)
    assert result.exit_code == 2
    assert "--quick has arms and seeds of its own: give --first-stage" in result.output
