"""Problems of one source and of several: what goes, and under which name it is counted."""

from typing import Any

import pytest

from rstar2.config import ProblemSource
from rstar2.errors import DataError
from rstar2.preparation.columns import Columns
from rstar2.preparation.questions import clean_problems, merged
from rstar2.problems.decontaminate import benchmark_grams

SOURCE = ProblemSource(hub="x/y", licence="", only={"kind": "good"})
LONG = "one two three four five six seven eight nine"


def cleaned(*pairs: tuple[str, Any], name: str = "s", source: ProblemSource = SOURCE):
    rows = [
        Columns(f"row {n}", {"question": q, "answer": a, "kind": "good"}) for n, (q, a) in enumerate(pairs)
    ]
    return clean_problems(name, source, rows, max_digits=5, max_chars=60, banned=benchmark_grams([LONG]))


def dropped(count) -> dict[str, int]:
    return {f.name: f.num_before - f.num_after for f in count.filters if f.num_before > f.num_after}


def test_every_filter_drops_what_the_paper_names():
    problems, count = cleaned(
        ("a", "7"),
        ("a", "7"),  # another solution of the same problem
        ("b", "The limit does not exist"),
        ("c", None),
        ("d", "Perimeter=54cm, Area=180cm^2"),
        ("e", "2 and 3"),
        ("f", "x + 1"),
        ("g", "123456"),
        ("g" * 61, "1"),
        ("h", "1"),
        ("H", "2"),  # contradicts it
        ("i", 5),
        ("I ", "5"),  # the same question
        (f"so {LONG}", "9"),
        ("j", "-1,234"),
    )
    assert [(p.question, p.answer, p.task) for p in problems] == [
        ("a", "7", "s"), ("i", "5", "s"), ("j", "-1234", "s")
    ]  # fmt: skip
    assert dropped(count) == {
        "repeated rows": 2,
        "answers in words": 2,
        "answers of parts": 2,
        "no integers": 1,
        "huge answers": 1,
        "long questions": 1,
        "contradictions": 2,
        "8-gram overlap": 1,
    }
    assert (count.num_rows, count.num_kept) == (15, 3)


def test_a_label_that_another_one_contradicts_goes_whatever_the_other_is():
    labels = ("12", "\\frac{25}{2}", "no solution")
    problems, count = cleaned(*(("Q?", label) for label in labels))
    assert problems == []
    assert dropped(count) == {"contradictions": 3}


def test_spellings_of_one_integer_and_a_missing_label_contradict_nothing():
    problems, _ = cleaned(("a", "1,234"), ("A", "$1234$"), ("a", None))
    assert [p.answer for p in problems] == ["1234"]


def test_rows_of_another_kind_are_passed_over():
    row = Columns("row 0", {"question": "a", "answer": "7", "kind": "bad"})
    problems, count = clean_problems("s", SOURCE, [row], max_digits=5, max_chars=60, banned=())
    assert problems == []
    assert dropped(count) == {"of other rows": 1}


@pytest.mark.parametrize("row", [{"answer": "1"}, {"question": "q"}, {"question": 7, "answer": "1"}])
def test_a_row_without_its_columns_is_an_error(row):
    with pytest.raises(DataError, match=r"row 0.*'(question|answer)'"):
        clean_problems(
            "s",
            ProblemSource(hub="x/y", licence=""),
            [Columns("row 0", row)],
            max_digits=5,
            max_chars=60,
            banned=(),
        )


def test_between_sources_repeats_stay_with_the_first_and_contradictions_nowhere():
    first = cleaned(("a", "1"), ("b", "2"), name="first")
    second = cleaned(("A", "1"), ("b", "3"), ("c", "4"), name="second")
    (ours, our_count), (theirs, their_count) = merged([first, second])
    assert [p.question for p in ours] == ["a"]
    assert [p.question for p in theirs] == ["c"]
    assert dropped(our_count) == {"contradictions elsewhere": 1}
    assert dropped(their_count) == {"contradictions elsewhere": 1, "repeats elsewhere": 1}
