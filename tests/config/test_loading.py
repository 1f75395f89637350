from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.config import PreparationConfig, RunConfig, dump_config, load_config, load_section, parse_config
from rstar2.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
STAGE: dict[str, Any] = {"name": "rl1", "steps": 3, "max_response_tokens": 100}
SMALL: dict[str, Any] = {"evaluation": {"max_response_tokens": 100}}


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "data",
    [
        {"engine": {"kind": "vllm"}, "stages": [STAGE], "evaluation": {"top_p": 0.9}},
        {"engine": {"kind": "torch"}, "stages": [{**STAGE, "top_p": 0.9}]},
    ],
)
def test_top_p_is_free_where_the_learner_need_not_know_it(data: dict[str, Any]) -> None:
    parse_config({"model": {"base": "x"}} | data)


def test_every_config_of_a_run_that_comes_with_the_project_is_sound() -> None:
    others = ("simulate", "data")
    paths = [path for path in sorted(CONFIGS.glob("*.toml")) if path.stem.split("-")[0] not in others]
    assert paths
    for path in paths:
        assert load_config(path).stages


@pytest.mark.parametrize("key", ["offload_optimizer", "checkpoint_activations"])
def test_memory_that_only_ranks_save_is_refused_without_them(key: str) -> None:
    saves = {**SMALL, "cluster": {key: True}}
    with pytest.raises(ConfigError, match=rf"cluster\.{key} is for .* set learner\.num_ranks = 1"):
        parse_config(saves)
    assert parse_config({**saves, "learner": {"num_ranks": 1}})


def test_every_preparation_that_comes_with_the_project_is_sound() -> None:
    for path in sorted(CONFIGS.glob("data*.toml")):
        assert load_section(PreparationConfig, path).problems


def test_the_gym_has_sizes_where_files_are_used_whole(tmp_path: Path) -> None:
    made = load_config(write(tmp_path, "[problems]\nnum_test = 7\n"))
    assert (made.problems.num_train, made.problems.num_validation, made.problems.num_test) == (4096, 64, 7)
    assert load_config(write(tmp_path, dump_config(made))) == made
    files = (
        '[problems]\nsource = "files"\ntrain_files = ["a.jsonl"]\ntest_files = ["b.jsonl"]\nnum_test = 7\n'
    )
    read = load_config(write(tmp_path, files))
    assert (read.problems.num_train, read.problems.num_validation, read.problems.num_test) == (None, None, 7)
    assert load_config(write(tmp_path, dump_config(read))) == read


def test_a_config_is_its_defaults_where_the_file_is_silent(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "[run]\nseed = 7\n"))
    assert config.run.seed == 7
    assert config.model_copy(update={"run": RunConfig().run}) == RunConfig()


@given(
    seed=st.integers(0, 2**31),
    user=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lr=st.floats(1e-8, 1.0),
    names=st.lists(st.text("abc", min_size=1), max_size=3, unique=True),
    cap=st.none() | st.floats(0.1, 10),
)
def test_a_written_config_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    user: str,
    lr: float,
    names: list[str],
    cap: float | None,
) -> None:
    config = parse_config(
        {
            "run": {"seed": seed},
            "protocol": {"user": user},
            "problems": {"tasks": {"gcd": {"max_value": 9}, "lcm": {}}},
            "learner": {"importance_cap": cap},
            "stages": [{**STAGE, "name": name, "lr": lr} for name in names],
        }
    )
    path = write(tmp_path_factory.mktemp("config"), dump_config(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("run.seed=7", "run", "seed", 7),
        ("run.seed = 7", "run", "seed", 7),
        ("run.reproducible=false", "run", "reproducible", False),
        ("model.base=Qwen/Qwen3-14B-Base", "model", "base", "Qwen/Qwen3-14B-Base"),
        ('model.base="a=b"', "model", "base", "a=b"),
        ("learner.betas=[0.8, 0.9]", "learner", "betas", (0.8, 0.9)),
        ('sft.files=["a.jsonl"]', "sft", "files", ("a.jsonl",)),
        ("engine.kv_tokens=40_000", "engine", "kv_tokens", 40_000),
    ],
)
def test_an_override_is_toml_or_bare_text(
    tmp_path: Path, override: str, section: str, key: str, value: object
) -> None:
    config = load_config(write(tmp_path, "[run]\nseed = 1\n"), [override])
    assert getattr(getattr(config, section), key) == value


def test_overrides_reach_into_tables_and_into_one_stage_and_the_last_one_wins(tmp_path: Path) -> None:
    path = write(tmp_path, '[[stages]]\nname = "a"\nsteps = 1\n[[stages]]\nname = "b"\nsteps = 1\n')
    overrides = [
        "stages.1.steps=5",
        "stages.1.exit.plateau_steps=2",
        "model.tiny.num_layers=1",
        "stages.1.steps=6",
    ]
    config = load_config(path, overrides)
    assert [stage.steps for stage in config.stages] == [1, 6]
    assert config.stages[1].exit.plateau_steps == 2
    assert config.model.tiny.num_layers == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.seed", "written section.key=value, not 'run.seed'"),
        ("=7", "written section.key=value"),
        ("run.sead=7", "run.sead: unknown key; known here: seed, threads"),
        ("seed=7", "seed: unknown key; known here: run, problems"),
        ("run.seed.deep=7", "seed is a value, not a section"),
        ("stages.1.steps=5", "entry 1 does not exist (there are 1)"),
        ("stages.first.steps=5", "entry first does not exist"),
        ("stages.0=5", "must name a key inside one entry"),
        ("run.seed=many", "run.seed: Input should be a valid integer"),
        ("engine.num_engines=0", "engine.num_engines: Input should be greater than or equal to 1"),
        ("run.tool_delay_steps=0", "run.tool_delay_steps: "),
        ("protocol.template=qwen", "protocol.template: Input should be 'chatml' or 'checkpoint'"),
    ],
)
def test_a_bad_override_is_named_with_what_would_be_right(
    tmp_path: Path, override: str, message: str
) -> None:
    path = write(tmp_path, '[run]\nseed = 1\n[[stages]]\nname = "a"\nsteps = 1\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"rum": {}}, "rum: unknown key; known here: run, problems"),
        ({"model": {"tiny": {"layers": 2}}}, "model.tiny.layers: unknown key; known here: hidden_size"),
        ({"stages": [STAGE, {**STAGE, "names": 1}]}, "stages.1.names: unknown key; known here: name, steps"),
        ({"stages": [{**STAGE, "exit": {"x": 1}}]}, "stages.0.exit.x: unknown key; known here: all_correct"),
        (
            {"problems": {"fields": {"x": "y"}}},
            "problems.fields.x: unknown key; known here: question, answer",
        ),
        ({"stages": [{"steps": 1}]}, "stages.0.name: Field required"),
        ({"sft": {"epochs": 3}}, "sft: epochs are passes over files: name sft.files"),
        (
            {"sft": {"mixture": {"right": 0, "wrong": 0, "broken": 0}}},
            "sft.mixture: right, wrong and broken are all 0: give at least one of them a weight",
        ),
        ({"tools": {"enabled": ["abacus"]}}, "tools.enabled.0: Input should be 'python'"),
        ({"tools": {"mcp": [{"name": "x"}]}}, "tools.mcp.0: the server 'x' needs either command or url"),
        (
            {"tools": {"mcp": [{"name": "x", "command": ["x"], "token_file": "t"}]}},
            "tools.mcp.0: the server 'x': pass_env is for a command, token_file for a url",
        ),
        ({"tools": {"mcp": [{"name": "x", "adress": "y"}]}}, "tools.mcp.0.adress: unknown key; known here: "),
        ({"tools": {"enabled": ["calculator"]}}, 'generated demonstrations call Python: put "python" into'),
        ({"stages": [STAGE, STAGE]}, "stage names must differ"),
        (
            {"engine": {"kind": "vllm"}, "model": {"base": "x"}, "stages": [{**STAGE, "top_p": 0.9}]},
            "which the learner takes before it: set top_p = 1 for stage rl1",
        ),
        ({"rollout": {"max_lag": 1}}, "of older weights: set learner.importance_cap (usually 2)"),
        (
            {"rollout": {"max_lag": 2}, "learner": {"importance_cap": 2.0}},
            "time decides which weights play a batch: set it to 1, or run.reproducible = false",
        ),
        ({"stages": [{**STAGE, "name": "sft"}]}, "from base and sft"),
        (
            {"stages": [{**STAGE, "group_size": 9, "oversample": 8}]},
            "stages.0: group_size (9) must not exceed oversample (8)",
        ),
        (
            {**SMALL, "engine": {"kv_tokens": 300}, "stages": [{**STAGE, "max_response_tokens": 300}]},
            "engine.kv_tokens (300) must exceed the longest response (300)",
        ),
        (
            {"engine": {"kv_tokens": 300}, "evaluation": {"max_response_tokens": 301}},
            "must exceed the longest response (301)",
        ),
        ({"problems": {"source": "files"}}, 'problems: source = "files" needs train_files and test_files'),
        ({"stages": [{**STAGE, "name": "../../x"}]}, "stages.0.name: String should match pattern"),
        ({"stages": [{**STAGE, "name": ""}]}, "stages.0.name: String should match pattern"),
        ({"stages": [{**STAGE, "name": "rl1\n"}]}, "stages.0.name: String should match pattern"),
        ({"stages": [{**STAGE, "mastery_problems": 0}]}, "stages.0.mastery_problems: "),
        ({"model": {"tiny": {"num_kv_heads": 3}}}, "num_heads (4) must be a multiple of num_kv_heads (3)"),
        ({"model": {"tiny": {"head_dim": 47}}}, "model.tiny.head_dim: Input should be a multiple of 2"),
        ({"model": {"tiny": {"hidden_size": -4}}}, "model.tiny.hidden_size: Input should be greater than"),
        ({"model": {"tiny": {"num_layers": 0}}}, "model.tiny.num_layers: Input should be greater than"),
        ({"model": {"tiny": {"num_kv_heads": 0}}}, "model.tiny.num_kv_heads: Input should be greater than"),
        ({"learner": {"importance_cap": 0}}, "learner.importance_cap: Input should be greater than 0"),
        ({"learner": {"importance_cap": -1.0}}, "learner.importance_cap: Input should be greater than 0"),
        ({"learner": {"betas": [0.9]}}, "learner.betas.1: Field required"),
        ({"learner": {"betas": [0.9, 1.0]}}, "learner.betas.1: Input should be less than 1"),
        ({"learner": {"betas": [-0.1, 0.9]}}, "learner.betas.0: Input should be greater than or equal to 0"),
        (
            {"learner": {"lora": {"rank": 8}}},
            "learner.lora adapts a trained model: set model.base to a folder",
        ),
        (
            {"sandbox": {"urls": ["node-1:8088"]}},
            "sandbox: urls must be written as http://HOST:PORT, not 'node-1",
        ),
        ({"sandbox": {"urls": ["http://a:1", "http://a:1/"]}}, "sandbox: urls must name each server once"),
        ({"sandbox": {"token_file": "secret"}}, "sandbox: token_file is for the servers in urls"),
    ],
)
def test_a_config_that_does_not_hold_together_is_refused_with_the_path_of_the_fault(
    data: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_a_torn_and_an_unreadable_file_are_each_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"there is no config file '.*nowhere.toml': give the path .* configs/ of its repository",
    ):
        load_config(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"run.toml' is not valid TOML: .*table declaration"):
        load_config(write(tmp_path, "[run"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "binary.toml")


def test_a_config_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().run.seed = 1  # type: ignore[misc]
