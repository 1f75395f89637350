"""`rstar2 eval --benchmark`: a checkpoint on a benchmark, by the paper's protocol and beside its numbers."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from rstar2.assemble import playing
from rstar2.config import RunConfig
from rstar2.console import BarWatcher, console, plain_table, progress_bar
from rstar2.evaluation.attempts import Attempt, BenchmarkScore, Record, benchmark_score
from rstar2.evaluation.benchmarks import PROTOCOL, Benchmark, Published, benchmark, problems_of
from rstar2.evaluation.evaluate import evaluation_limits
from rstar2.evaluation.pass_at_k import Estimate, widest
from rstar2.evaluation.play_benchmark import play_benchmark
from rstar2.evaluation.scorecard import checked_ks
from rstar2.evaluation.transcripts import Transcripts
from rstar2.problems import contaminated
from rstar2.problems.load import Fields, load
from rstar2.problems.rows import HUB
from rstar2.types import Problem
from rstar2.verbs.alone import alone_in
from rstar2.verbs.checkpoint import playing_config

_LIMITS = {"time_limit_s", "memory_limit_mb", "output_limit_chars", "grading_time_limit_s"}
"""Of the sandbox, what changes an answer or its verdict; where and beside how many programs run does not."""
_WHERE_A_SERVER_IS = {"url", "token_file", "start_limit_s"}
"""Of an MCP server; it may move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the command line asked for."""

    benchmark: Benchmark
    problems: Sequence[Problem]
    ks: Sequence[int]
    folder: Path
    """Of the transcripts."""
    trained_on: Sequence[str]
    """Sources of training problems, looked through for those of the benchmark."""
    not_here: Sequence[str] = ()
    """Files that the model was trained on, by its config, and that this machine does not have."""


def asked_for(
    name: str,
    model: str,
    config: Path | None,
    limits: Mapping[str, object],
    *,
    overrides: Sequence[str] = (),
    files: Sequence[str],
    limit: int | None,
    ks: Sequence[int],
    folder: Path | None,
    trained_on: Sequence[str],
) -> tuple[RunConfig, Examination]:
    """The config by the paper's protocol but for `limits` and `overrides`, and what to do with it."""
    entry = benchmark(name)
    given = {key: value for key, value in limits.items() if value is not None}
    options = {**PROTOCOL, "protocol.user": entry.prompt, **given}
    resolved = playing_config(model, config, options, overrides)
    section = resolved.problems
    own = section.train_files if section.source == "files" else ()
    not_here = [source for source in own if not source.startswith(HUB) and not Path(source).exists()]
    return resolved, Examination(
        benchmark=entry,
        problems=problems_of(entry, files)[:limit],
        ks=checked_ks(ks, resolved.evaluation.rollouts),
        folder=folder or Path("evaluations") / name / _file_name(model),
        trained_on=(*(source for source in own if source not in not_here), *trained_on),
        not_here=not_here,
    )


def _file_name(model: str) -> str:
    """`demo-models-rl3` of `runs/demo/models/rl3`: the last of it may be the same in every run."""
    return "-".join(Path(model).parts[-3:]).strip("/-")


def examine(config: RunConfig, asked: Examination) -> dict[str, Any]:
    """Play what is missing, print the table, and keep the score beside the transcripts."""
    with alone_in(asked.folder, deed="evaluates in", option="--folder"):
        return _examine(config, asked)


def _examine(config: RunConfig, asked: Examination) -> dict[str, Any]:
    settings = _settings(config, asked.benchmark)
    transcripts = Transcripts(asked.folder, settings)
    known = contaminated(asked.problems, _questions(config, asked.trained_on))
    with progress_bar() as watcher:
        records_P = asyncio.run(_play(config, asked.problems, transcripts, watcher))
    scores = {"all": _score(records_P, asked.ks, config.run.seed)}
    if 0 < len(known) < len(asked.problems):
        ids = {problem.id for problem in known}
        clean = [rs for rs, problem in zip(records_P, asked.problems, strict=True) if problem.id not in ids]
        if any(clean):
            scores["clean"] = _score(clean, asked.ks, config.run.seed)
    _show(config, asked, scores["all"])
    _show_contamination(asked, known, scores.get("clean"))
    result = {
        "settings": settings,
        "scores": {name: score.as_dict() for name, score in scores.items()},
        "contaminated": [problem.id for problem in known] if asked.trained_on else None,
    }
    console.print(f"written to {transcripts.keep_score(result)}", soft_wrap=True)
    return result


def _settings(config: RunConfig, entry: Benchmark) -> dict[str, Any]:
    """What decides the numbers; a folder holds one set of it."""
    return {
        "benchmark": entry.name,
        "model": config.model.base,
        "seed": config.run.seed,
        **config.evaluation.model_dump(mode="json", exclude={"split"}),
        "protocol": config.protocol.model_dump(mode="json"),
        "dtype": config.engine.dtype,
        "tools": list(config.tools.enabled),
        "mcp": [server.model_dump(mode="json", exclude=_WHERE_A_SERVER_IS) for server in config.tools.mcp],
        "sandbox": config.sandbox.model_dump(mode="json", include=_LIMITS),
    }


async def _play(
    config: RunConfig, problems: Sequence[Problem], transcripts: Transcripts, watcher: BarWatcher
) -> list[list[Record]]:
    num_rollouts = config.evaluation.rollouts
    watcher.begin("loading", 1)
    async with playing(config) as players:
        watcher.begin("rollouts", len(problems) * num_rollouts)
        return await play_benchmark(
            problems,
            num_rollouts=num_rollouts,
            limits=evaluation_limits(config),
            collector=players.collector,
            tokenizer=players.template.tokenizer,
            transcripts=transcripts,
            advance=watcher.advance,
        )


def _score(records_P: Sequence[Sequence[Record]], ks: Sequence[int], seed: int) -> BenchmarkScore:
    return benchmark_score([[Attempt.of(r) for r in records] for records in records_P], ks, seed=seed)


def _questions(config: RunConfig, sources: Sequence[str]) -> Iterator[str]:
    fields = Fields(question=config.problems.fields.question, answer=config.problems.fields.answer)
    for source in sources:
        yield from (problem.question for problem in load(source, fields=fields, skip_bad=True).problems)


def _show(config: RunConfig, asked: Examination, score: BenchmarkScore) -> None:
    console.print(_comparison(asked.benchmark, score, config.evaluation.rollouts))
    table = plain_table()
    table.add_column("this checkpoint")
    table.add_column("", justify="right")
    for k, estimate in score.pass_at_k.items():
        table.add_row(f"pass@{k}", f"{_share(estimate)}  {_interval(estimate)}")
    table.add_row("calls per rollout", f"{score.calls:.2f}")
    table.add_row("tool errors", f"{score.tool_error_rate:.1%}")
    recovery = "no call failed" if score.recovery_rate is None else f"{score.recovery_rate:.1%}"
    table.add_row("right after a tool error", recovery)
    table.add_row("cut off", f"{score.cut_rate:.1%}")
    console.print(table)
    lost = len(asked.problems) * config.evaluation.rollouts - score.num_attempts
    console.print(f"{score.num_problems} problems, {score.num_attempts} rollouts, {lost} lost")
    if len(asked.problems) < asked.benchmark.num_problems:
        of_all = f"{len(asked.problems)} of {asked.benchmark.num_problems} problems"
        console.print(f"only {of_all}: not to be compared with the published scores", style="yellow")


def _comparison(entry: Benchmark, score: BenchmarkScore, num_rollouts: int) -> Table:
    """Ours with its interval; for published means the widest that their number of problems allows."""
    table = plain_table()
    table.add_column(entry.title)
    for title in (f"avg@{num_rollouts}", "95% CI", "tokens"):
        table.add_column(title, justify="right")
    ours = (_share(score.average), _interval(score.average), f"{score.tokens.value:.0f}")
    table.add_row("this checkpoint", *ours, style="bold")
    for other in entry.published:
        table.add_row(other.model, *_published_cells(other, entry.num_problems))
    return table


def _published_cells(other: Published, num_problems: int) -> tuple[str, str, str]:
    estimate = widest(other.score, num_problems)
    tokens = "" if other.tokens is None else f"{other.tokens:.0f}"
    return _share(estimate), f"within {_interval(estimate)}", tokens


def _show_contamination(asked: Examination, known: Sequence[Problem], clean: BenchmarkScore | None) -> None:
    for source in asked.not_here:
        console.print(
            f"contamination by {source} not checked: it is not here", style="yellow", soft_wrap=True
        )
    if not asked.trained_on:
        console.print("contamination not checked: name the training problems with --against")
        return
    of_all = f"{len(known)} of {len(asked.problems)} problems"
    console.print(f"{of_all} share eight words in a row with the training problems")
    for problem in known:
        console.print(f"  {problem.id}", soft_wrap=True)
    if clean is not None:
        console.print(f"without them: {_share(clean.average)}  {_interval(clean.average)}")


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.1%}"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.1%} - {estimate.high:.1%}"
