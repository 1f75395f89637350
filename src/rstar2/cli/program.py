"""The program itself: its groups of verbs, and how each of them ends."""

import logging
import os
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rstar2.cli import checkpoints, data, machine, reproduction, runs, sandbox
from rstar2.errors import InputError, Rstar2Error


class Verbs(TyperGroup):
    """Ends every verb with the exit code and the sentence that its failure calls for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Rstar2Error as error:
            typer.echo(f"rstar2: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except KeyboardInterrupt as stop:
            goes_on = ctx.invoked_subcommand in ("train", "reproduce")
            again = "; run the same command to go on" if goes_on else ""
            typer.echo(f"\nstopped{again}", err=True)
            raise typer.Exit(130) from stop


_COMPUTE_DEFAULTS = {
    # An idle OpenMP thread spins for some 50 us before it sleeps: never to spin makes a step of the tiny
    # model twice as long, and to spin for long starves the programs that share these cores.
    "GOMP_SPINCOUNT": "10000",
    # oneDNN keeps a kernel per matrix shape; packed batches have ever new shapes, at 10 MB a step.
    "LRU_CACHE_CAPACITY": "32",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
}
"""Environment of torch's libraries, which read it once, when they are loaded."""

app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Agentic reinforcement learning: language models that learn to solve problems by writing Python.",
)
app.add_typer(runs.app)
app.add_typer(reproduction.app)
app.add_typer(checkpoints.app)
app.add_typer(machine.app)
app.add_typer(data.app, name="data")
app.add_typer(sandbox.app, name="sandbox")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rstar2 {version('rstar2')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and stop.")
    ] = False,
) -> None:
    """Options of the program itself; each acts on its own."""


def main() -> None:
    """Entry point."""
    # Who starts us may ignore it, as Ray's workers do, and that is inherited: we would never learn how our
    # own children have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name, value in _COMPUTE_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # A hub that cannot be reached is one sentence of ours, not twenty lines of its client's retries.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app()
