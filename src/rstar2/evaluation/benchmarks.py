"""The benchmarks that the paper reports: where each is kept, how its rows read, and what others scored.

One entry of benchmarks.toml per benchmark; nothing else knows a benchmark by name. They are played through
the agent loop by one protocol (section 5.1, arXiv:2508.20722) and graded like everything else: as integers
where both sides are, else by math-verify; letters of choices exactly. Entries with a harness are only named:
it has its own prompts and scorers.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from rstar2.errors import InputError
from rstar2.problems.load import Fields, load
from rstar2.types import Problem

PROTOCOL: Mapping[str, object] = {
    "evaluation.rollouts": 16,
    "evaluation.temperature": 0.6,
    "evaluation.top_p": 1.0,
    "evaluation.max_response_tokens": 30_720,
    "evaluation.max_turns": 30,
}
"""The paper's, by config key; it does not state top-p."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What somebody scored."""

    model: str
    score: float
    """Mean pass@1, share in [0, 1]."""
    tokens: float | None
    """Mean per response; None if not published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One entry."""

    name: str
    title: str
    sources: tuple[str, ...]
    """As `load` takes them."""
    num_problems: int
    """Of the whole; a score on fewer compares with nothing."""
    fields: Fields
    prompt: str | None
    """`protocol.user` for it; None leaves the config's."""
    published: tuple[Published, ...]


def benchmark(name: str) -> Benchmark:
    """The entry of this name; InputError names those that there are, or the harness that measures it."""
    entries = _entries()
    if name not in entries:
        raise InputError(f"there is no benchmark {name!r}; known are {', '.join(entries)}")
    entry = entries[name]
    if "harness" in entry:
        by = f"{entry['harness']} through `rstar2 serve`"
        raise InputError(f"{entry['title']} is measured by {by}: docs/serving.md#harnesses has the commands")
    return _benchmark(name, entry)


def names() -> tuple[str, ...]:
    """Of the entries that are played here."""
    return tuple(name for name, entry in _entries().items() if "harness" not in entry)


def problems_of(entry: Benchmark, files: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Its problems, from the hub or from files with the same columns; their task is the benchmark."""
    sources = files or entry.sources
    loaded = [problem for source in sources for problem in load(source, fields=entry.fields).problems]
    problems = tuple(replace(problem, task=entry.name) for problem in loaded)
    if len({problem.id for problem in problems}) < len(problems):
        raise InputError(f"{', '.join(sources)}: a problem is there twice; give each file once")
    return problems


@cache
def _entries() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files("rstar2.evaluation").joinpath("benchmarks.toml").read_text("utf-8"))


def _benchmark(name: str, entry: Mapping[str, Any]) -> Benchmark:
    return Benchmark(
        name=name,
        title=entry["title"],
        sources=tuple(entry["sources"]),
        num_problems=entry["num_problems"],
        fields=Fields(
            question=entry["question"],
            answer=entry["answer"],
            id=entry.get("id", ""),
            wrong_answers=tuple(entry.get("wrong_answers", ())),
        ),
        prompt=entry.get("prompt"),
        published=tuple(
            Published(model=model, score=said["score"] / 100, tokens=said.get("tokens"))
            for model, said in entry["published"].items()
        ),
    )
