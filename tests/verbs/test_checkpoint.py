from pathlib import Path

import pytest

from rstar2.config import dump_config, parse_config
from rstar2.errors import ConfigError, InputError
from rstar2.evaluation.evaluate import evaluation_limits
from rstar2.verbs.checkpoint import playing_config

FILES = ("config.json", "tokenizer.json", "model.safetensors")


def checkpoint(folder: Path, *, without: str = "") -> str:
    folder.mkdir(parents=True)
    for name in FILES:
        if name != without:
            (folder / name).touch()
    return str(folder)


@pytest.mark.parametrize(
    ("without", "complaint"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "no weights"),
    ],
)
def test_an_incomplete_checkpoint_is_refused_before_anything_is_loaded(tmp_path, without, complaint):
    with pytest.raises(InputError, match=complaint):
        playing_config(checkpoint(tmp_path / "m", without=without), None, {})


@pytest.mark.parametrize("model", ["/missing", "./missing", "runs/missing/models/rl1"])
def test_a_missing_folder_is_refused(model):
    with pytest.raises(InputError, match="there is no checkpoint"):
        playing_config(model, None, {})


def test_a_hub_id_is_left_to_whoever_loads_it():
    assert playing_config("someone/model-1", None, {}).model.base == "someone/model-1"


def test_a_checkpoint_of_a_run_is_played_with_the_runs_config(tmp_path):
    model = checkpoint(tmp_path / "run/models/rl1")
    trained = parse_config({"evaluation": {"max_turns": 7}, "protocol": {"tool_response_chars": 99}})
    (tmp_path / "run/config.toml").write_text(dump_config(trained))
    found = playing_config(model, None, {})
    assert (found.evaluation.max_turns, found.protocol.tool_response_chars) == (7, 99)
    assert found.model.base == model
    assert evaluation_limits(found).max_turns == 7


def test_of_a_runs_vllm_engines_one_plays_unless_more_are_asked_for(tmp_path):
    model = checkpoint(tmp_path / "run/models/rl3")
    trained = parse_config(
        {"engine": {"kind": "vllm", "num_engines": 40}, "model": {"tiny": {"head_dim": 64}}}
    )
    (tmp_path / "run/config.toml").write_text(dump_config(trained))
    assert playing_config(model, None, {}).engine.num_engines == 1
    assert playing_config(model, None, {}, ["engine.num_engines=2"]).engine.num_engines == 2


def test_a_given_config_wins_over_the_runs(tmp_path):
    model = checkpoint(tmp_path / "run/models/rl1")
    (tmp_path / "run/config.toml").write_text("[evaluation]\nmax_turns = 7\n")
    (tmp_path / "mine.toml").write_text("[evaluation]\nmax_turns = 3\n")
    assert playing_config(model, tmp_path / "mine.toml", {}).evaluation.max_turns == 3


def test_a_checkpoint_from_elsewhere_keeps_its_own_template(tmp_path):
    assert playing_config(checkpoint(tmp_path / "m"), None, {}).protocol.template == "checkpoint"


def test_options_override_and_none_leaves_alone(tmp_path):
    options = {"evaluation.temperature": 0.25, "evaluation.max_turns": None}
    found = playing_config(checkpoint(tmp_path / "m"), None, options)
    assert found.evaluation.temperature == 0.25
    assert found.evaluation.max_turns == parse_config({}).evaluation.max_turns


def test_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"options: evaluation\.temperature"):
        playing_config(checkpoint(tmp_path / "m"), None, {"evaluation.temperature": -1.0})


def test_overrides_come_last_and_a_servers_model_needs_no_weights(tmp_path):
    model = checkpoint(tmp_path / "m", without="model.safetensors")
    server = ["engine.kind=remote", "engine.url=http://a/v1"]
    found = playing_config(model, None, {"evaluation.max_turns": 5}, [*server, "evaluation.max_turns=6"])
    assert (found.engine.kind, found.evaluation.max_turns) == ("remote", 6)
    with pytest.raises(InputError, match="no weights"):
        playing_config(model, None, {}, ["engine.kind=vllm"])
    with pytest.raises(ConfigError, match="unknown key"):
        playing_config(model, None, {}, ["engine.kin=vllm"])
