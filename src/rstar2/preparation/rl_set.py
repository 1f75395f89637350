"""The RL problems: every source cleaned in a shard, then what is the same in two, then the labels."""

import json
from functools import partial

from rstar2.config import LabelCheckSection, ProblemSource
from rstar2.preparation.asking import ask_all
from rstar2.preparation.columns import rows_of
from rstar2.preparation.job import Job, skipped
from rstar2.preparation.journal import Journal
from rstar2.preparation.label_check import Agreement, agreement, is_confirmed
from rstar2.preparation.manifest import SourceCount, refusals
from rstar2.preparation.questions import Cleaned, clean_problems, merged
from rstar2.preparation.served_model import Asked
from rstar2.preparation.shards import Shard, fingerprint, write_unless_empty
from rstar2.problems.decontaminate import benchmark_grams
from rstar2.problems.filters import FilterCount
from rstar2.types import Problem


async def make_problems(job: Job) -> tuple[SourceCount, ...]:
    """Writes problems.jsonl, if there are any; one count per source."""
    sources = {name: source for name, source in job.config.problems.items() if not source.skip}
    cleaned = merged([_shard(job, name, source) for name, source in sources.items()])
    if job.checker is not None:
        checked = [sources[count.name].check_labels for _, count in cleaned]
        cleaned = await _with_confirmed_labels(job, job.checker, cleaned, checked)
    lines = [problem_line(problem) for problems, _ in cleaned for problem in problems]
    write_unless_empty(job.folder / "problems.jsonl", lines)
    counts = {count.name: count for _, count in cleaned}
    return tuple(counts.get(name) or skipped(name, source) for name, source in job.config.problems.items())


def problem_line(problem: Problem) -> str:
    """As `[problems]` reads it with `fields = { id = "id", task = "task" }`."""
    record = {"id": problem.id, "question": problem.question, "answer": problem.answer, "task": problem.task}
    return json.dumps(record, ensure_ascii=False)


def _shard(job: Job, name: str, source: ProblemSource) -> Cleaned:
    shard = Shard(job.folder / "shards" / "rl" / f"{name}.jsonl")
    banned = [problem.question for problems in job.benchmarks.values() for problem in problems]
    max_digits, max_chars = job.config.max_answer_digits, job.config.max_question_chars
    made_of = fingerprint(source, max_digits, max_chars, *banned)
    if (count := shard.count(made_of)) is None:
        job.progress.begin(name, source.num_rows)
        problems, count = clean_problems(
            name,
            source,
            rows_of(source),
            max_digits=max_digits,
            max_chars=max_chars,
            banned=benchmark_grams(banned),
            on_row=job.progress.advance,
        )
        shard.write(map(problem_line, problems), count, made_of=made_of)
    return [Problem(**json.loads(line)) for line in shard], count


async def _with_confirmed_labels(
    job: Job, checker: Asked, cleaned: list[Cleaned], is_checked: list[bool]
) -> list[Cleaned]:
    """Asks about all sources that want it at once; the others stay as they are."""
    section = job.config.label_check
    doubted = [p for (found, _), check in zip(cleaned, is_checked, strict=True) if check for p in found]
    with Journal(job.folder / "asked" / f"labels-{fingerprint(_what_matters(section))}.jsonl") as journal:
        job.progress.begin("labels", sum(_key(problem) not in journal for problem in doubted))
        await ask_all(
            ((_key(problem), problem) for problem in doubted),
            partial(_record, checker, section),
            journal,
            num_at_once=section.num_requests,
            on_answer=job.progress.advance,
        )
        said = {key: Agreement.of_record(journal[key]) for key in map(_key, doubted) if key in journal}
    return [
        _confirmed(found, count, said, section) if check else (found, count)
        for (found, count), check in zip(cleaned, is_checked, strict=True)
    ]


def _confirmed(
    found: list[Problem], count: SourceCount, said: dict[str, Agreement], section: LabelCheckSection
) -> Cleaned:
    answered = [problem for problem in found if _key(problem) in said]
    kept = [problem for problem in answered if is_confirmed(said[_key(problem)], section)]
    checked = FilterCount(name="label check", num_before=len(answered), num_after=len(kept))
    return kept, count.filtered(refusals(len(found), len(answered))).filtered(checked)


async def _record(checker: Asked, section: LabelCheckSection, problem: Problem) -> dict[str, int] | None:
    found = await agreement(checker, problem, section)
    return None if found is None else found.as_record()


def _key(problem: Problem) -> str:
    """A question whose label was changed is asked about anew."""
    return f"{problem.id}={problem.answer}"


def _what_matters(section: LabelCheckSection) -> str:
    """What the outcome depends on: not where the model is served, nor how many requests run at once."""
    matters = {"model", "temperature", "top_p", "max_tokens", "prompt", "answers", "min_agreeing"}
    return section.model_dump_json(include=matters)
