"""`rstar2 sandbox`: the service that runs programs, and what tries it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Run programs for others, and try how well.")

Pid = Annotated[
    int | None, typer.Option(help="Process of the service.", show_default="whoever listens there")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Programs at a time of a service that is started.")]
Isolation = Annotated[
    Literal["full", "user", "none"] | None, typer.Option(help="Walls of a service that is started.")
]
TokenFile = Annotated[Path | None, typer.Option(help="File with the token that the service asks for.")]


@app.command("serve")
def serve_sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 8088,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Programs that run at a time.", show_default="8 per core"),
    ] = None,
    isolation: Annotated[
        Literal["full", "user", "none"] | None,
        typer.Option(
            help="How strongly programs are walled in.", show_default="full for root, user for all others"
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that every client must send.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")
    ] = False,
    max_queued: Annotated[int, typer.Option(min=1, help="Jobs that may wait; more are refused.")] = 100_000,
    drain_s: Annotated[
        float, typer.Option(min=0.0, help="Time for accepted jobs to end once told to stop, seconds.")
    ] = 60.0,
    judge_time_limit_s: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=3600.0,
            help="Time limit of what code-judge's clients post, seconds: they cannot set any.",
        ),
    ] = 10.0,
    judge_memory_limit_mb: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Memory limit of the same, MiB.")
    ] = 512,
) -> None:
    """Run programs for whoever posts them, sealed off and warm (docs/sandbox.md)."""
    from rstar2.verbs.serve_sandbox import Serving, serve

    serve(
        Serving(
            host=host,
            port=port,
            workers=workers,
            isolation=isolation,
            token_file=token_file,
            is_insecure=insecure,
            max_queued=max_queued,
            drain_s=drain_s,
            judge_time_limit_s=judge_time_limit_s,
            judge_memory_limit_mb=judge_memory_limit_mb,
        )
    )


@app.command("bench")
def bench_sandbox(
    url: Annotated[
        str | None, typer.Argument(help="Service to measure.", show_default="one that is started for it")
    ] = None,
    api: Annotated[
        str,
        typer.Option(help="APIs, joined by commas: native, client, code-judge, fusion, in-process, ..."),
    ] = "native",
    calls: Annotated[int, typer.Option(min=1, help="Calls per run; with --overhead, per kind.")] = 2000,
    in_flight: Annotated[
        str, typer.Option(help="Calls under way at a time; commas join several runs.")
    ] = "32",
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Start so many calls per second instead, answered or not.")
    ] = None,
    duration: Annotated[float, typer.Option(min=0.01, help="Length of a run with --rate, seconds.")] = 300.0,
    mix: Annotated[
        str, typer.Option(help="Programs to run: default, or one of its kinds (trivial, numpy, ...).")
    ] = "default",
    overhead: Annotated[
        bool, typer.Option("--overhead", help="Measure the CPU of a call beyond its program's, kind by kind.")
    ] = False,
    baseline: Annotated[
        int, typer.Option(min=0, help="Calls to run in fresh interpreters as well, to compare.")
    ] = 0,
    second_client: Annotated[
        float | None, typer.Option(min=0.01, help="Trivial calls per second of another client meanwhile.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Watch the memory of the service.")] = False,
    pid: Pid = None,
    workers: Workers = None,
    isolation: Isolation = None,
    token_file: TokenFile = None,
    deadline: Annotated[float, typer.Option(min=0.01, help="Longest wait for an answer, seconds.")] = 900.0,
    seed: Annotated[int, typer.Option(help="Fixes the draws of the mix.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures into this file.")] = None,
) -> None:
    """Load a service with programs whose answers are known: how fast, how fair, how right."""
    from rstar2.sandbox.bench.subject import Subject, checked_apis
    from rstar2.verbs.bench_sandbox import BenchPlan, bench, bench_overhead, loads

    plan = BenchPlan(
        subject=Subject(url=url, pid=pid, token_file=token_file, num_workers=workers, isolation=isolation),
        apis=checked_apis(api),
        loads=loads(in_flight, rate_per_s=rate),
        num_calls=calls if rate is None else max(1, round(rate * duration)),
        mix=mix,
        seed=seed,
        deadline_s=deadline,
        second_client_per_s=second_client,
        num_baseline_calls=baseline,
        with_memory=memory,
    )
    if overhead:
        bench_overhead(plan, out=out)
    elif not bench(plan, out=out):
        raise typer.Exit(1)


@app.command("probe")
def probe_sandbox(
    url: Annotated[
        str | None, typer.Argument(help="Service to attack.", show_default="one that is started for it")
    ] = None,
    fuzz: Annotated[
        int, typer.Option(min=0, help="Random programs to send as well, and as many random requests.")
    ] = 0,
    pid: Pid = None,
    workers: Workers = None,
    isolation: Isolation = None,
    token_file: TokenFile = None,
    seed: Annotated[int, typer.Option(help="Fixes what is random.")] = 0,
) -> None:
    """Attack a service with hostile programs, and print what held; exit code 1 if anything did not."""
    from rstar2.sandbox.bench.subject import Subject
    from rstar2.verbs.probe_sandbox import probe

    subject = Subject(url=url, pid=pid, token_file=token_file, num_workers=workers, isolation=isolation)
    if not probe(subject, num_fuzz=fuzz, seed=seed):
        raise typer.Exit(1)
