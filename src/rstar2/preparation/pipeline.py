"""The order of a preparation, and the files it leaves in its folder.

benchmarks/NAME.jsonl                          what the trained model is measured on, and not trained on
shards/sft/NAME.jsonl, shards/rl/NAME.jsonl    one source each, cleaned; made once
asked/*.jsonl                                  what served models said
sft.jsonl, problems.jsonl                      what a run reads
manifest.json                                  counts
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rstar2.config import SourceSection
from rstar2.preparation.job import Job
from rstar2.preparation.manifest import Manifest
from rstar2.preparation.rl_set import make_problems, problem_line
from rstar2.preparation.sft_set import make_conversations
from rstar2.preparation.shards import write_whole


async def prepare(job: Job) -> Manifest:
    """Make what is not there yet, and count everything."""
    _write_benchmarks(job)
    manifest = Manifest(
        conversations=await make_conversations(job),
        problems=await make_problems(job),
        benchmarks=tuple((name, len(problems)) for name, problems in job.benchmarks.items()),
        remarks=tuple(_remarks(job)),
    )
    write_whole(job.folder / "manifest.json", [json.dumps(manifest.as_json(), indent=1)])
    return manifest


def _write_benchmarks(job: Job) -> None:
    """And remove those of a time before: problems may overlap a benchmark that is no longer named."""
    folder = job.folder / "benchmarks"
    for path in folder.glob("*.jsonl"):
        if path.stem not in job.benchmarks and _is_ours(path):
            path.unlink()
    for name, problems in job.benchmarks.items():
        named = (replace(problem, id=f"{name}/{problem.id}", task=name) for problem in problems)
        write_whole(folder / f"{name}.jsonl", map(problem_line, named))


def _is_ours(path: Path) -> bool:
    """Whether its problems are named as ours are; a file of the user's own stays."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().startswith(f'{{"id": "{path.stem}/')


def _remarks(job: Job) -> Iterator[str]:
    """Where the result is not what the paper describes, and which setting would bring it closer."""
    config = job.config
    every: list[tuple[str, SourceSection]] = [*config.conversations.items(), *config.problems.items()]
    for name, source in every:
        if source.skip:
            yield f"{name} is left out: give its path and set skip = false."
    if config.problems and not job.benchmarks:
        yield "nothing was decontaminated: give benchmarks.names."
    for name, asked in config.conversations.items():
        if asked.rewrite != "nothing" and not asked.skip and not config.rewriting.url:
            yield f"{name}: {asked.rewrite} are as published, not rewritten: give rewriting.url."
    for name, labelled in config.problems.items():
        if labelled.check_labels and not labelled.skip and not config.label_check.url:
            yield f"{name}: labels are as published, not checked: give label_check.url."
