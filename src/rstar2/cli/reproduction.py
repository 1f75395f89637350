"""`rstar2 reproduce`: the paper's claims in miniature."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rstar2.cli.options import Overrides

app = typer.Typer()


@app.command()
def reproduce(
    config: Annotated[Path, typer.Argument(help="TOML file of a run with RL stages.")] = Path(
        "configs/reproduce.toml"
    ),
    to: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/reproduce"),
    page: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file to write; its numbers and pictures lie beside it.",
            show_default="TO/results.md",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="Only this arm, and the baseline (repeatable); all by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many; 0, 1, 2 and so on.", show_default="5")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Runs at the same time.", show_default="one per core")
    ] = None,
    first_stage: Annotated[
        bool, typer.Option("--first-stage", help="End where the paper's comparison does.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="The three main arms with two seeds, and --first-stage.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Train every arm with every seed, then compare them; stopped, the same command goes on."""
    from rstar2.config import load_config
    from rstar2.errors import InputError
    from rstar2.reproduction.arms import MAIN_ARMS, first_stage_alone
    from rstar2.verbs import reproduce as verb

    if quick and (arm or seeds):
        raise InputError("--quick has arms and seeds of its own: give --first-stage with --arm and --seeds")
    loaded = load_config(config, overrides or ())
    verb.reproduce(
        first_stage_alone(loaded) if quick or first_stage else loaded,
        root=to,
        page=page or to / "results.md",
        names=MAIN_ARMS if quick else arm or (),
        num_seeds=2 if quick else seeds or 5,
        num_at_once=at_once or os.cpu_count() or 1,
        command=" ".join(["rstar2", *sys.argv[1:]]),
    )
