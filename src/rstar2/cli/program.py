"""The program itself: its groups of verbs, and how each of them ends."""

import logging
import os
import signal
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rstar2.cli import checkpoints, data, machine, reproduction, runs, sandbox
from rstar2.errors import InputError, Rstar2Error

_TYPED = "rstar2 typed"
"""Key of the words of the command line, options without their values, in click's notes about a command."""
_GO_ON = {"train": "train", "reproduce": "reproduce", "data": "prepare", "eval": "--benchmark"}
"""Commands that go on where they were stopped: the first word of each, and one that it must hold."""


class Verbs(TyperGroup):
    """Ends every verb with the exit code and the sentence that its failure calls for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        ctx.meta[_TYPED] = [word.partition("=")[0] for word in args]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Rstar2Error as error:
            typer.echo(f"rstar2: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except KeyboardInterrupt as stop:
            typed = ctx.meta.get(_TYPED, [""])
            again = "; run the same command to go on" if _GO_ON.get(typed[0]) in typed else ""
            typer.echo(f"\nstopped{again}", err=True)
            raise typer.Exit(130) from stop


def _like_ctrl_c(_: int, frame: FrameType | None) -> None:
    """To SIGTERM, which `kill`, `timeout` and schedulers send: all children are ended then, too.

    Not by raising SIGINT: what a script starts in the background ignores it.
    """
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    (on_ctrl_c if callable(on_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)


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
    signal.signal(signal.SIGTERM, _like_ctrl_c)
    for name, value in _COMPUTE_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # A hub that cannot be reached is one sentence of ours, not twenty lines of its client's retries.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app()
