"""Verbs of a checkpoint: measure it, talk to it, let others talk to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from rstar2.cli.options import (
    AnswerField,
    MaxTokens,
    MaxTurns,
    Model,
    Overrides,
    PlayingConfig,
    QuestionField,
    Seed,
    Temperature,
)
from rstar2.errors import InputError

app = typer.Typer()


@app.command("eval")
def evaluate(
    model: Model,
    config: PlayingConfig = None,
    data: Annotated[
        str | None,
        typer.Option(help="JSONL or parquet file of problems.", show_default="the test set of the config"),
    ] = None,
    question_field: QuestionField = "question",
    answer_field: AnswerField = "answer",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    rollouts: Annotated[
        int | None, typer.Option(min=1, help="Attempts per problem.", show_default="1; 16 of a benchmark")
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="k of pass@k (repeatable).", show_default="1, 2, 4, ...")
    ] = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    max_turns: MaxTurns = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Write the result into this file, as JSON.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Write the rollouts into this file, for `rstar2 analyze`.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="aime24, aime25, hmmt25, math500 or gpqa-diamond, as in the paper.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(help="File with the benchmark's own columns (repeatable).", show_default="from the hub"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a benchmark's transcripts, where it goes on.",
            show_default="evaluations/BENCHMARK/MODEL",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Training problems to look through for the benchmark's (repeatable)."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Measure a checkpoint: pass@k with 95% intervals, tool errors, calls and tokens (docs/evaluation.md)."""
    limits = {
        "evaluation.rollouts": rollouts,
        "evaluation.temperature": temperature,
        "evaluation.max_response_tokens": max_tokens,
        "evaluation.max_turns": max_turns,
        "run.seed": seed,
    }
    if benchmark is None:
        if file or folder or against:
            raise InputError("--file, --folder and --against are for a --benchmark: name one, or use --data")
        fields = (question_field, answer_field)
        _evaluate(
            model, config, limits, overrides or (), data=data, fields=fields, limit=limit, ks=k or (),
            out=out, keep=keep,
        )  # fmt: skip
        return
    if data or out or keep:
        raise InputError("--data, --out and --keep are not for a --benchmark: give --file and --folder")
    from rstar2.evaluation import benchmarks

    benchmarks.benchmark(benchmark)  # a mistyped one is said before torch is loaded
    from rstar2.verbs.benchmark import asked_for, examine

    resolved, asked = asked_for(
        benchmark, model, config, limits, files=file or (), limit=limit, ks=k or (), folder=folder,
        trained_on=against or (), overrides=overrides or (),
    )  # fmt: skip
    examine(resolved, asked)


def _evaluate(
    model: str,
    config: Path | None,
    limits: Mapping[str, object],
    overrides: Sequence[str],
    *,
    data: str | None,
    fields: tuple[str, str],
    limit: int | None,
    ks: Sequence[int],
    out: Path | None,
    keep: Path | None,
) -> None:
    from rstar2.evaluation.scorecard import checked_ks
    from rstar2.verbs.checkpoint import playing_config

    num_rollouts = limits["evaluation.rollouts"] or 1
    assert isinstance(num_rollouts, int)
    checked = checked_ks(ks, num_rollouts)
    resolved = playing_config(model, config, {**limits, "evaluation.rollouts": num_rollouts}, overrides)
    from rstar2.verbs.score import chosen_problems, score

    question_field, answer_field = fields
    problems = chosen_problems(
        resolved, data, question_field=question_field, answer_field=answer_field, limit=limit
    )
    score(resolved, problems, ks=checked, out=out, keep=keep)


@app.command()
def chat(
    model: Model,
    prompt: Annotated[
        str | None, typer.Option(help="One problem; without it, one per line of stdin.")
    ] = None,
    config: PlayingConfig = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    max_turns: MaxTurns = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Give a checkpoint problems and watch it think, run programs and answer."""
    from rstar2.verbs.checkpoint import playing_config

    options = {
        "evaluation.temperature": temperature,
        "evaluation.max_response_tokens": max_tokens,
        "evaluation.max_turns": max_turns,
        "run.seed": seed,
        "run.reproducible": False,  # a single rollout would only wait for the fixed delivery of results
    }
    resolved = playing_config(model, config, options, overrides or ())
    from rstar2.verbs import chat as verb

    verb.chat(resolved, prompt=prompt)


@app.command()
def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 8000,
    tools: Annotated[
        bool, typer.Option("--tools", help="Run tool calls here, and give clients only the last turn.")
    ] = False,
    echo: Annotated[
        bool,
        typer.Option("--echo", help="Read prompts back with log-probs, by a second copy of the weights."),
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the API key that every client must send.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a key.")
    ] = False,
    config: PlayingConfig = None,
    max_tokens: MaxTokens = None,
    max_turns: MaxTurns = None,
    overrides: Overrides = None,
) -> None:
    """Answer OpenAI's clients: chat and plain completions, streams, tools (docs/serving.md)."""
    from rstar2.verbs.checkpoint import playing_config

    options = {
        "evaluation.max_response_tokens": max_tokens,
        "evaluation.max_turns": max_turns,
        "run.reproducible": False,  # clients come when they come: a fixed delivery would only delay results
        "rollout.policy": "least_inflight_sticky",  # ours learns from rollouts with one limit, and for good
    }
    resolved = playing_config(model, config, options, overrides or ())
    from rstar2.verbs.serve import Listening, serve

    serve(
        resolved,
        Listening(
            host=host,
            port=port,
            token_file=token_file,
            is_insecure=insecure,
            with_tools=tools,
            with_echo=echo,
        ),
    )
