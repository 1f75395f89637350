"""Verbs of a whole run: start it, foresee it, read what came of it."""

from pathlib import Path
from typing import Annotated

import typer

from rstar2.cli.options import Overrides
from rstar2.errors import InputError

app = typer.Typer()


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file of the run, for example configs/tiny.toml.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/CONFIG")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved config and its plan, and stop.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(help="Ray cluster to train on: its address, or `local` to start one on this machine."),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on although the config now learns otherwise, as by its lr."
        ),
    ] = False,
) -> None:
    """Run the whole recipe, or go on where it was stopped."""
    from rstar2.config import dump_config, load_config

    resolved = load_config(config, overrides or ())
    if dry_run:
        from rstar2.verbs.plan import plan_as_comment

        typer.echo(f"{dump_config(resolved)}\n{plan_as_comment(resolved)}", nl=False)
        return
    from rstar2.verbs.train import run_training

    folder = run or Path("runs") / config.stem
    run_training(resolved, folder, cluster_address=cluster, accept_changes=accept_changes)


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="TOML file of the run, with sections cluster and plan.")],
    overrides: Overrides = None,
) -> None:
    """Say whether a run fits its machines, how long it takes, and what to change first; starts nothing."""
    from rstar2.config import load_config
    from rstar2.verbs.plan import show_plan

    if not show_plan(load_config(config, overrides or ())):
        raise typer.Exit(1)


@app.command()
def simulate(
    config: Annotated[
        Path, typer.Argument(help="TOML file of a scenario, for example configs/simulate-64xmi300x.toml.")
    ],
    trace: Annotated[
        Path | None, typer.Option(help="Play the rollouts recorded in this file, instead of drawn workloads.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the last workload into this SVG file: engines over time.")
    ] = None,
) -> None:
    """Play the rollouts of a cluster under every placement policy, on paper; prints who is how fast."""
    from rstar2.rollout.simulation.scenario import load_scenario
    from rstar2.verbs import simulate as verb

    verb.simulate(load_scenario(config), trace=trace, picture=picture)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, also of one that still runs.")],
    compare: Annotated[
        list[Path] | None, typer.Option(help="Show another run beside it (repeatable).", metavar="RUN")
    ] = None,
) -> None:
    """Write RUN/report.html: tables, curves and rollouts to read, on one page without a network."""
    from rstar2.evaluation.report import write_report

    typer.echo(write_report(run, compare=compare or ()))


@app.command()
def analyze(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run: its phases, one after the other.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead of a run, one checkpoint (with --rollouts).")
    ] = None,
    rollouts: Annotated[
        Path | None, typer.Option(help="A rollouts.jsonl, or the folder of a benchmark's transcripts.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many rollouts per phase, drawn at random.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Entropies are those of softmax(logits / temperature).")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Fixes the draw and the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="RUN, or that of the rollouts")
    ] = None,
) -> None:
    """Show where a policy hesitates and how it uses its tools, phase by phase (docs/analysis.md)."""
    from rstar2.verbs.analyze import Inquiry, analyze_recordings, recording, recordings_of_run

    inquiry = Inquiry(limit=limit, temperature=temperature, seed=seed)
    if run is not None and model is None and rollouts is None:
        analyze_recordings(recordings_of_run(run), inquiry, folder=out or run)
    elif run is None and model is not None and rollouts is not None:
        folder = rollouts if rollouts.is_dir() else rollouts.parent
        analyze_recordings([recording(model, rollouts)], inquiry, folder=out or folder)
    else:
        raise InputError("name either a run, or a checkpoint by --model and its rollouts by --rollouts")


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run, also of one that has yet to begin.")],
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 for any free one.", min=0, max=65535)] = 8090,
) -> None:
    """Show the page of a run in the browser, live while it goes on; nobody else can reach it."""
    from rstar2.verbs.view import view as verb

    verb(run, port=port)
