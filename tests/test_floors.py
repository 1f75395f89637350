"""Imports only go down, and heavy libraries stay where they belong: checked on the imports as written.

A unit is a package or a module directly under `rstar2`. It may import units of lower floors, on floor 0
also its neighbours, and never what it is forbidden. Imports inside functions count; for libraries, those
for type checkers only do not.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

FLOORS = {
    "errors": 0,
    "types": 0,
    "integers": 0,
    "ports": 0,
    "bearer_token": 0,
    "config": 0,
    "telemetry": 0,
    "__init__": 1,  # runs whenever any of us is imported, so it may name the vocabulary and nothing else
    "problems": 1,
    "protocol": 1,
    "corpus": 1,
    "sandbox": 1,
    "grpo": 1,
    "models": 1,
    "weights": 1,
    "profiles": 1,
    "checkpoint": 1,
    "preparation": 2,
    "engines": 2,
    "tools": 2,
    "rollout": 2,
    "rewards": 2,
    "learner": 2,
    "evaluation": 3,
    "planning": 3,
    "serving": 3,
    "training": 4,  # a run evaluates every stage
    "cluster": 4,
    "reproduction": 4,
    "assemble": 5,
    "doctor": 5,
    "console": 6,
    "verbs": 7,
    "cli": 8,
}

FORBIDDEN = {
    "preparation": {"sandbox", "grpo", "models", "weights", "corpus", "checkpoint"},
    "engines": {"protocol", "problems", "sandbox", "grpo"},
    "rollout": {"sandbox", "grpo", "models", "weights"},
    "tools": {"sandbox", "problems", "corpus", "grpo", "models", "weights", "checkpoint"},
    "rewards": {"sandbox", "grpo", "models", "weights"},
    "learner": {"sandbox", "protocol", "problems"},
    "cluster": {"engines", "rollout", "rewards", "tools", "protocol", "problems", "corpus", "grpo", "models"},
    "training": {"engines", "sandbox", "learner", "models"},
    "planning": {"engines", "sandbox", "learner", "models", "grpo", "protocol", "problems"},
    "evaluation": {"engines", "sandbox", "learner", "models"},
    "serving": {"engines", "sandbox", "learner", "models", "problems", "grpo"},
}
"""Lower floors that a unit must not see all the same: it works on ports, or it is no business of its."""

TORCH = ("models", "engines", "learner", "grpo.loss", "weights", "cluster", "assemble", "doctor")
HTTP = (
    "preparation.served_model",
    "sandbox.server",
    "sandbox.client",
    "sandbox.bench.over_http",
    "serving.app",
    "engines.completion_server",
    "evaluation.report.live",
)

LIBRARIES = {
    "torch": TORCH,
    "transformers": ("models", "engines", "learner", "protocol.tokenizer", "assemble"),
    "safetensors": ("models", "learner", "weights"),
    "peft": ("learner.adapters",),
    "ray": ("cluster",),
    "vllm": ("engines.vllm_engine", "engines.vllm_core", "engines.vllm_worker"),
    "reasoning_gym": ("problems.gym",),
    "datasets": ("problems.rows",),
    "matplotlib": ("reproduction.pictures",),
    "math_verify": ("sandbox.warmth",),
    "jsonschema": ("protocol.schema",),
    "referencing": ("protocol.schema",),
    "mcp": ("tools.mcp_client", "tools.mcp_connection"),
    "mcp_types": ("tools.mcp_client",),
    "httpx2": ("tools.mcp_connection",),
    "typer": ("cli",),
    "tensorboard": ("telemetry.tensorboard_sink",),
    "wandb": ("telemetry.wandb_sink",),
    **dict.fromkeys(
        ("aiohttp", "fastapi", "http", "httpx", "requests", "starlette", "urllib", "uvicorn"), HTTP
    ),
}
"""Where a library may be imported, as module prefixes below `rstar2`."""

JAILED = "sandbox.mother"
"""The first of our modules in the process tree that runs untrusted programs; it must drag in no others."""


@dataclass(frozen=True)
class Import:
    """One imported name, with its dots."""

    name: str
    line: int
    for_types_only: bool


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import in the text of a module of the package (`rstar2.grpo`), relative names resolved."""

    def visit(node: ast.AST, for_types_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, for_types_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno, for_types_only) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, True)
            for child in node.orelse:
                yield from visit(child, for_types_only)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, for_types_only)

    return visit(ast.parse(source), False)


def violations(module: str, source: str) -> list[str]:
    """What the module (`grpo.loss`, `cli`) imports and must not, one sentence each."""
    package = f"rstar2.{module}".rpartition(".")[0]
    return [
        f"{module}, line {found.line}: {complaint}"
        for found in imports_of(source, package)
        if (complaint := complaint_about(module, found))
    ]


def complaint_about(module: str, found: Import) -> str | None:
    unit, (library, *path) = module.split(".")[0], found.name.split(".")
    if library != "rstar2":
        allowed = LIBRARIES.get(library)
        misplaced = allowed is not None and not found.for_types_only and not is_inside(module, allowed)
        return f"{library} may be imported in {', '.join(allowed or ())} only" if misplaced else None
    target = path[0] if path else "rstar2"
    if target == unit:
        return None
    if unit not in FLOORS or target not in FLOORS:
        return f"{unit if unit not in FLOORS else target} has no floor; give it one in FLOORS"
    if target in FORBIDDEN.get(unit, ()):
        return f"{unit} must not see {target}"
    floor, target_floor = FLOORS[unit], FLOORS[target]
    if floor == target_floor == 0 or target_floor < floor:
        return None
    return f"{unit} (floor {floor}) must not import {target} (floor {target_floor})"


def is_inside(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{prefix}.") for prefix in prefixes)


def modules() -> dict[str, str]:
    """Source text by module name below `rstar2`; a package's own code is `package.__init__`."""
    paths = (SOURCE / "rstar2").rglob("*.py")
    return {".".join(p.relative_to(SOURCE / "rstar2").with_suffix("").parts): p.read_text() for p in paths}


def test_imports_only_go_down():
    found = [line for module, source in modules().items() for line in violations(module, source)]
    assert not found, "\n".join(found)


def test_nothing_of_ours_outside_its_folder_enters_the_jail():
    sources, reached, waiting = modules(), set(), [JAILED]
    while waiting:
        module = waiting.pop()
        if module in reached or module not in sources:
            continue
        reached.add(module)
        names = (found.name for found in imports_of(sources[module], f"rstar2.{module}".rpartition(".")[0]))
        ours = [name.removeprefix("rstar2.") for name in names if name.startswith("rstar2.")]
        waiting += [*ours, *(name.rpartition(".")[0] for name in ours)]
        assert all(name.startswith("sandbox.") for name in ours), f"{module} imports {ours}"
    assert "sandbox.zygote" in reached


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        (
            "rollout.agent",
            "from rstar2.engines.torch_engine import TorchEngine",
            "rollout (floor 2) must not",
        ),
        ("rollout.agent", "from ..grpo import roc", "rollout must not see grpo"),
        ("learner.learner", "def f():\n    import rstar2.protocol.parse", "line 2: learner must not see"),
        (
            "learner.learner",
            "class C:\n    from rstar2 import sandbox",
            "line 2: learner must not see sandbox",
        ),
        ("grpo.roc", "from rstar2.problems import draw", "grpo (floor 1) must not import problems (floor 1)"),
        ("types", "from .grpo import roc", "types (floor 0) must not import grpo"),
        (
            "evaluation.report",
            "from rstar2.training import rl",
            "evaluation (floor 3) must not import training",
        ),
        ("training.rl", "if True:\n    from rstar2 import learner", "training must not see learner"),
        ("grpo.roc", "from rstar2.newcomer import thing", "newcomer has no floor"),
        ("newcomer", "from rstar2.types import Problem", "newcomer has no floor"),
        ("grpo.roc", "import torch.nn as nn", "torch may be imported in"),
        ("grpo.loss_of_words", "from torch import Tensor", "torch may be imported in"),
        (
            "rollout.agent",
            "try:\n    import ray\nexcept ImportError: ...",
            "ray may be imported in cluster only",
        ),
        ("sandbox.pool", "from http.client import HTTPConnection", "http may be imported in"),
        (
            "learner.fsdp",
            "if TYPE_CHECKING:\n    import rstar2.rollout\n",
            "learner (floor 2) must not import",
        ),
    ],
)
def test_a_planted_violation_is_found(module, source, complaint):
    (found,) = violations(module, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("grpo.loss", "import torch\nfrom rstar2.types import Group"),
        ("ports", "from rstar2.types import Problem\nif TYPE_CHECKING:\n    from torch import Tensor"),
        ("rollout.agent", "from . import placement\nfrom .placement import x\nfrom ..protocol import parse"),
        ("assemble", "from rstar2.engines import torch_engine\nfrom rstar2 import cluster, learner"),
        ("cli", "import rstar2.doctor, json"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(module, source) == []


def test_the_command_line_starts_without_torch_and_transformers():
    code = "import sys, rstar2.cli; print(*{'torch', 'transformers', 'reasoning_gym'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
