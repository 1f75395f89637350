"""The docs say what the code does: their blocks run, and what they name exists.

Fences mean something: `python` is executed (a page's blocks in one namespace), `toml` is a run config,
`sh` holds commands of ours, `tree` is the source tree; `text` is only read by people.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

import rstar2
from rstar2.cli import app
from rstar2.config import RunConfig, StageSection, load_config, parse_config

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/rstar2"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FOREIGN = ("/work/", "/tmp/p", "/root/", "/home/", "localhost", "issue #")
"""Traces of one machine, which no page may show."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> list[Any]:
    """Pages that have such blocks; those that start a sandbox take longer."""
    pages = [(page, "\n".join(blocks(page, language))) for page in PAGES]
    slow = [pytest.mark.integration]
    return [
        pytest.param(page, id=page.name, marks=slow if "WorkerPool" in text else [])
        for page, text in pages
        if text
    ]


def inline_code(page: Path) -> Iterator[str]:
    """What stands in single backticks, outside of fences."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", prose)


def commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh"):
        yield from filter(None, (shlex.split(line, comments=True) for line in block.splitlines()))


# -- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_blocks_run(page):
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_toml_blocks_are_run_configs(page):
    for block in blocks(page, "toml"):
        parse_config(tomllib.loads(block), origin=page.name)


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_exist_with_their_options(page):
    for program, *words in commands(page):
        COMMANDS[program](words)


def check_rstar2(words: list[str]) -> None:
    """Parses the line as the program would, which refuses unknown options; does not run it."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    given = command.make_context("rstar2", words).params
    if command.name == "train" and (ROOT / given["config"]).exists():
        load_config(ROOT / given["config"], given["overrides"] or ())


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words) <= set(targets)


def check_python(words: list[str]) -> None:
    for word in words:
        assert "/" not in word or (ROOT / word).exists(), word


COMMANDS = {
    "rstar2": check_rstar2,
    "make": check_make,
    ".venv/bin/python": check_python,
}
"""What a page may tell people to type."""


@pytest.mark.parametrize("line", ["rstar2 trian x.toml", "rstar2 eval --modle x", "make dmeo", "rm -r runs"])
def test_a_command_with_a_slip_is_found(line):
    program, *words = shlex.split(line)
    with pytest.raises(Exception, match=r"trian|modle|dmeo|rm"):
        COMMANDS[program](words)


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_have_a_heading_and_the_same_columns_in_every_row(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for table in re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE):
        rows = table.splitlines()
        assert len(rows) > 1, table
        assert re.fullmatch(r"\|(:?-+:?\|)+", rows[1].replace(" ", "")), table
        assert len({row.replace(r"\|", "").count("|") for row in rows}) == 1, table


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    missing = [path for path in map(named_path, inline_code(page)) if path and not exists(path)]
    assert not missing


def named_path(code: str) -> str | None:
    """The path, if the code is one of ours: below a folder of the repository or of the package, or *.py."""
    path = code.partition("::")[0]
    if not re.fullmatch(r"[\w./-]+", path):
        return None
    ours = {folder.name for root in (ROOT, SOURCE) for folder in root.iterdir() if folder.is_dir()}
    is_ours = path.split("/")[0] in ours if "/" in path else path.endswith(".py")
    return path if is_ours else None


def exists(path: str) -> bool:
    return (ROOT / path).exists() or (SOURCE / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_that_are_named_exist(page):
    for code in [code for code in inline_code(page) if re.fullmatch(r"[\w/]+\.py::\w+", code)]:
        path, name = code.split("::")
        assert re.search(rf"^(?:def|class) {name}\b", (SOURCE / path).read_text(), re.MULTILINE), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_config_keys_that_are_named_exist(page):
    for code in inline_code(page):
        section, *keys = re.split(r"[ =*]", code)[0].rstrip(".").replace("stages.*", "stages").split(".")
        if section in RunConfig.model_fields and keys and keys[-1] not in ("py", "md", "toml", "jsonl"):
            assert has_key(section, keys), code


def has_key(section: str, keys: list[str]) -> bool:
    model: Any = StageSection if section == "stages" else RunConfig.model_fields[section].annotation
    for key in keys:
        if not (isinstance(model, type) and issubclass(model, BaseModel) and key in model.model_fields):
            return False
        model = model.model_fields[key].annotation
    return True


def test_the_tree_in_the_readme_is_the_tree():
    (tree,) = blocks(ROOT / "README.md", "tree")
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    there = {p.name for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert named == there - {"__init__.py"}
    assert all((ROOT / line.split()[0]).exists() for line in tree.splitlines() if not line.startswith(" "))


# -- figures ---------------------------------------------------------------------------------------


def rows_of_settings() -> list[Any]:
    """(key, what the recipe's table says) of every row."""
    table = re.findall(
        r"^\|.*\| `([\w.*]+)` \| (.+) \|$", (ROOT / "docs/recipe.md").read_text(), re.MULTILINE
    )
    return [pytest.param(key, text, id=key) for key, text in table]


@pytest.mark.parametrize(("key", "text"), rows_of_settings())
def test_the_recipe_quotes_the_tiny_config(key, text):
    found: list[Any] = [load_config(ROOT / "configs/tiny.toml").model_dump(mode="json")]
    for part in key.split("."):
        found = [stage for stages in found for stage in stages] if part == "*" else [x[part] for x in found]
    assert [value(part) for part in text.split(" / ")] == found


def value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def test_what_the_recipe_leaves_unnamed_is_the_papers_value():
    (named,) = (tomllib.loads(b) for b in blocks(ROOT / "docs/recipe.md", "toml") if "[[stages]]" in b)
    ours, papers = parse_config(named), load_config(ROOT / "configs/qwen3-14b.toml")
    of_machines = {"num_ranks"}
    sections = [
        (named.get("roc", {}), ours.roc, papers.roc),
        (named["learner"], ours.learner, papers.learner),
        *zip(named["stages"], ours.stages, papers.stages, strict=True),
    ]
    for names, mine, theirs in sections:
        unnamed = type(mine).model_fields.keys() - names.keys() - of_machines
        assert {k: getattr(mine, k) for k in unnamed} == {k: getattr(theirs, k) for k in unnamed}


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rstar2.__version__ == project["version"]
    assert f"## [{rstar2.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_is_read_in_a_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda page: page.name)
def test_pages_are_ascii_and_of_no_machine(page):
    text = page.read_text()
    assert text.isascii()
    assert not [trace for trace in FOREIGN if trace in text]


# -- examples --------------------------------------------------------------------------------------


def run_example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_group_example_keeps_the_flawless_rollout():
    assert re.search(r"^ +0 +1 +0\.00 +0\.00 +100%", run_example("resample_a_group.py"), re.MULTILINE)


@pytest.mark.integration
def test_the_sandbox_example_shows_every_outcome():
    shown = run_example("sandbox.py")
    for outcome in (
        "value: ok",
        "stdin: ok",
        "error: exception",
        "forever: time_limit",
        "network: exception",
    ):
        assert f"--- {outcome}" in shown


@pytest.mark.integration
def test_the_rollout_example_plays_a_checkpoint(tmp_path):
    from rstar2.models.loading import build_tiny, save_model
    from rstar2.protocol.template import chatml_template
    from rstar2.protocol.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([], vocab_size=267, chat_template=chatml_template())
    tokenizer.save(tmp_path)
    model = build_tiny(
        vocab_size=267,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        mlp_size=16,
        max_positions=2048,
        seed=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    save_model(model, tmp_path)
    shown = run_example("one_rollout.py", str(tmp_path), "What is 2 + 2?")
    assert "--- prompt" in shown
    assert "--- ended: " in shown
