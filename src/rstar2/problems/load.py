"""Any file or hub data set of questions and answers -> Problems, through one loader.

A bad row is an error that names its place, unless the caller asked to count and skip such rows.
Nothing is cleaned here: see `filters` and `decontaminate`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rstar2.errors import DataError
from rstar2.problems.choices import lettered
from rstar2.problems.identity import question_hash
from rstar2.problems.rows import HUB, Row, read_rows, source_name
from rstar2.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where a row keeps what: dotted paths such as `reward_model.ground_truth` or `prompt.0.content`."""

    question: str = "question"
    answer: str = "answer"
    id: str = ""
    """Empty: the hash of the question."""
    task: str = ""
    """Empty: the name of the file or data set."""
    wrong_answers: tuple[str, ...] = ()
    """Makes the problem one of multiple choice between these and `answer`; its answer is then a letter."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of a row in which all paths begin."""
        paths = (self.question, self.answer, self.id, self.task, *self.wrong_answers)
        return tuple(dict.fromkeys(path.split(".")[0] for path in paths if path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came out of a source."""

    problems: tuple[Problem, ...]
    """In the order of the source; repeats are still there."""
    complaints: tuple[str, ...] = ()
    """One sentence per skipped row."""


def load(source: str, *, fields: Fields | None = None, skip_bad: bool = False) -> Loaded:
    """All problems of a source (`read_rows` says which there are); no usable row is an error, too."""
    fields = fields or Fields()
    columns = () if source.startswith(HUB) else fields.columns  # the hub has them of parquet alone
    complaints: list[str] = []
    problems: list[Problem] = []
    hash_of_id: dict[str, str] = {}
    for place, row in read_rows(source, columns):
        try:
            problem = _problem(row, fields, default_task=source_name(source))
            key = question_hash(problem.question)
            if hash_of_id.setdefault(problem.id, key) != key:
                raise _BadRow(f"the id {problem.id!r} already belongs to another question; make ids unique")
        except _BadRow as bad:
            complaints.append(f"{place}: {bad}")
            if not skip_bad:
                raise DataError(complaints[-1]) from bad
        else:
            problems.append(problem)
    if not problems:
        raise DataError(
            f"{source} has no usable row ({len(complaints)} bad ones); check file and field names"
        )
    return Loaded(problems=tuple(problems), complaints=tuple(complaints))


class _BadRow(ValueError):
    """What is wrong with one row and what to do about it; `load` adds the place."""


def _problem(row: Row, fields: Fields, *, default_task: str) -> Problem:
    columns = _columns(row)
    question, answer = _text(columns, fields.question), _text(columns, fields.answer)
    name = _text(columns, fields.id) if fields.id else question_hash(question)
    if fields.wrong_answers:
        try:
            question, answer = lettered(question, answer, [_text(columns, f) for f in fields.wrong_answers])
        except ValueError as error:
            raise _BadRow(f"{error}; mend or delete the row") from error
    return Problem(
        id=name,
        question=question,
        answer=answer,
        task=_text(columns, fields.task) if fields.task else default_task,
    )


def _columns(row: Row) -> Mapping[str, object]:
    if isinstance(row, Mapping):
        return row
    try:
        columns = json.loads(row)
    except (ValueError, RecursionError) as error:  # the second of brackets nested too deep
        raise _BadRow(f"is not JSON ({error}); mend or delete the line") from error
    if not isinstance(columns, dict):
        raise _BadRow("is JSON but no object; write one {...} per line")
    return columns


def _text(columns: Mapping[str, object], path: str) -> str:
    """The stripped text at a dotted path; integers are written out, anything else is refused."""
    value: object = columns
    for key in path.split("."):
        value = _step(value, key, path)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise _BadRow(f"field {path!r} is {value!r:.40}, no text; map the field to another column")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _BadRow(f"field {path!r} holds half of a surrogate pair, which is no text; mend the row")
    return value.strip()


def _step(value: object, key: str, path: str) -> object:
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    there = ", ".join(map(repr, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise _BadRow(f"has no field {path!r} (at {key!r} there is {there}); map the field to another column")
