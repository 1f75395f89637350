"""`rstar2 data`: verbs of training data."""

from pathlib import Path
from typing import Annotated

import typer

from rstar2.cli.options import AnswerField, Overrides, QuestionField

app = typer.Typer(no_args_is_help=True, help="Make training data, and look at it.")


@app.command("check")
def check(
    file: Annotated[str, typer.Argument(help="JSONL or parquet file of problems, or hf:OWNER/NAME:SPLIT.")],
    question_field: QuestionField = "question",
    answer_field: AnswerField = "answer",
    against: Annotated[
        list[str] | None, typer.Option(help="Benchmark whose 8-grams must not appear (repeatable).")
    ] = None,
    against_field: Annotated[
        str, typer.Option(help="Where a row of a benchmark keeps the question.")
    ] = "question",
) -> None:
    """Count how many problems could be trained on, and which filter drops the others."""
    from rstar2.problems.load import Fields
    from rstar2.verbs.check_data import check_data

    fields = Fields(question=question_field, answer=answer_field)
    check_data(file, fields=fields, against=against or (), against_field=against_field)


@app.command("prepare")
def prepare(
    config: Annotated[Path, typer.Argument(help="TOML file of the sources, for example configs/data.toml.")],
    to: Annotated[Path, typer.Option(help="Folder of the files; what is there already is not made again.")],
    overrides: Overrides = None,
) -> None:
    """Make conversations for SFT and problems for RL from published sources, or go on with it."""
    from rstar2.config import PreparationConfig, load_section
    from rstar2.verbs.prepare_data import prepare_data

    prepare_data(load_section(PreparationConfig, config, overrides or ()), to)
