"""What `rstar2 plan` prints, and its exit code."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstar2.cli import app
from rstar2.config import load_config
from rstar2.planning.layout import make_layout, memory_plan
from rstar2.planning.policy import policy_shape

ROOT = Path(__file__).parents[2]
COMMANDS = [
    line.partition("#")[0].strip()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line in page.read_text().splitlines()
    if line.startswith("rstar2 plan ")
]
"""That the pages tell people to type."""
CONFIG = """
[model]
base = "Qwen/Qwen3-0.6B"
[learner]
bf16 = true
[engine]
kv_tokens = 100_000
dtype = "bfloat16"
[evaluation]
max_response_tokens = 2000
[sft]
steps = 0
[sandbox]
workers = 64
[cluster]
accelerator = "h100"
[[stages]]
name = "rl1"
steps = 10
problems_per_step = 4
oversample = 4
group_size = 4
max_response_tokens = 2000
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)

    def _plan(*overrides: str):
        words = [word for override in overrides for word in ("-s", override)]
        return CliRunner().invoke(app, ["plan", str(path), *words])

    return _plan


def test_a_plan_that_fits_ends_well_and_says_what_to_change(plan):
    result = plan()
    assert result.exit_code == 0, result.output
    assert "Qwen/Qwen3-0.6B, 596 M parameters" in result.output
    assert "It fits and takes" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_plan_that_does_not_fit_is_exit_code_1_with_the_remedy(plan):
    result = plan("engine.kv_tokens=2_000_000")
    text = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "It does not fit: generating needs" in text
    assert "Set engine.kv_tokens =" in text


def test_probing_for_mastery_is_shown_or_said_to_be_unknown(plan):
    unmastered = "stages.0.problems=unmastered"
    known, files = plan(unmastered), ("source=files", "train_files=['a']", "test_files=['b']")
    unknown = plan(unmastered, *(f"problems.{setting}" for setting in files))
    assert "rl1 probing" in known.output
    assert "Not counted" not in known.output
    assert "rl1 probing" not in unknown.output
    assert "Not counted: trying all problems for mastery before rl1." in unknown.output


def test_the_page_shows_the_tables_that_are_printed():
    """Of memory and rollouts; times also depend on the simulator."""
    page = (ROOT / "docs/planning.md").read_text()
    command = next(line for line in page.splitlines() if line.startswith("rstar2 plan"))
    _, verb, config, *words = command.split()
    printed = CliRunner().invoke(app, [verb, str(ROOT / config), *words]).output.replace("\u2500", "-")
    tables = printed[: printed.index("seconds per step")]
    shown = "\n".join(line.rstrip() for line in tables.splitlines())
    assert shown in page


@pytest.mark.parametrize("command", COMMANDS)
def test_every_plan_on_a_page_shares_out_the_accelerators_and_fits(command):
    _, _, path, *words = command.split()
    config = load_config(ROOT / path, [word for word in words if word != "-s"])
    assert memory_plan(make_layout(config, policy_shape(config.model))).fits


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("cluster.accelerator=abacus", "no accelerator is called 'abacus'"),
        ("model.base=nobody/x", "the shape of 'nobody/x' is not known"),
        ("plan.mean_response_tokens=[1, 2]", "has 2 entries for 1 stages"),
        ("plan.mean_response_tokens=[100]", "it must lie between 200 and 2000"),
    ],
)
def test_what_cannot_be_planned_is_wrong_input(plan, override, sentence):
    result = plan(override)
    assert result.exit_code == 2
    assert sentence in result.stderr
