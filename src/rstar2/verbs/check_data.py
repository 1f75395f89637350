"""`rstar2 data check`: how many problems of a file could be trained on, and where the others are lost."""

from collections.abc import Sequence

from rstar2.console import console, plain_table, show_text
from rstar2.problems.filters import apply_filters, training_filters
from rstar2.problems.load import Fields, load

_MOST_COMPLAINTS = 5
_READABLE = "readable row (a bad one ends a run)"


def check_data(
    source: str, *, fields: Fields, against: Sequence[str], against_field: str = "question"
) -> None:
    """Print one line per filter; DataError if nothing is left. Of `against` only the questions are read."""
    loaded = load(source, fields=fields, skip_bad=True)
    only_question = Fields(question=against_field, answer=against_field)
    benchmarks = [problem for bench in against for problem in load(bench, fields=only_question).problems]
    _, counts = apply_filters(loaded.problems, training_filters(p.question for p in benchmarks))
    for complaint in loaded.complaints[:_MOST_COMPLAINTS]:
        show_text(complaint, style="yellow")
    table = plain_table()
    for title, justify in ("filter", "left"), ("before", "right"), ("dropped", "right"), ("left", "right"):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    num_rows = len(loaded.problems) + len(loaded.complaints)
    table.add_row(_READABLE, str(num_rows), str(len(loaded.complaints)), str(len(loaded.problems)))
    for count in counts:
        dropped = count.num_before - count.num_after
        table.add_row(count.name, str(count.num_before), str(dropped), str(count.num_after))
    console.print(table)
