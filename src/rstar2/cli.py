"""The `rstar2` program: one verb per thing a person wants. Heavy imports wait until a verb runs."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rstar2.errors import InputError, Rstar2Error

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Agentic reinforcement learning: language models that learn to solve problems by writing Python.",
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override one key of the config: -s section.key=value (repeatable)."),
]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file of the run, for example configs/tiny.toml.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run [default: runs/<config name>].")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved config and stop.")] = False,
) -> None:
    """Run the whole recipe, or go on where it was stopped."""
    from rstar2.config import dump_config, load_config

    resolved = load_config(config, overrides or ())
    if dry_run:
        typer.echo(dump_config(resolved), nl=False)
        return
    from rstar2.console import run_training

    run_training(resolved, run or Path("runs") / config.stem)


@app.command()
def doctor() -> None:
    """Say what this machine can and cannot do, with the remedy for each lack."""
    from rstar2.console import print_findings

    print_findings()


def main() -> None:
    """Entry point: 0 done, 1 the world failed, 2 the input was wrong; errors are one sentence."""
    # Before torch is loaded: idle OpenMP threads must sleep, not spin, as programs share these cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except InputError as error:
        typer.echo(f"rstar2: {error}", err=True)
        sys.exit(2)
    except Rstar2Error as error:
        typer.echo(f"rstar2: {error}", err=True)
        sys.exit(1)
