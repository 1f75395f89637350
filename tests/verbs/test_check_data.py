import json

import pytest

from rstar2.errors import DataError
from rstar2.problems.load import Fields
from rstar2.verbs.check_data import check_data

FIELDS = Fields(question="prompt.text", answer="label")
LONG = "one two three four five six seven eight nine"


@pytest.fixture
def data(tmp_path):
    rows = [
        ("what is 1 + 1?", "2"),
        ("What is 1 + 1?", "2"),  # a repeat
        ("what is pi?", "3.14"),  # no integer
        ("odd?", "1"),  # contradicts the next
        ("odd?", "2"),
        (f"so {LONG}", "9"),  # on the benchmark
    ]
    lines = [json.dumps({"prompt": {"text": question}, "label": answer}) for question, answer in rows]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([*lines, "{torn", '{"label": "1"}']))
    return str(path)


def rows_of(text: str) -> dict[str, list[int]]:
    """The table's numbers by the first two words of its lines."""
    lines = [line.split() for line in text.splitlines()]
    return {" ".join(w[:-3]): [int(n) for n in w[-3:]] for w in lines if len(w) > 3 and w[-1].isdigit()}


def test_every_filter_says_what_it_drops(data, tmp_path, capsys):
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"problem": LONG}))
    check_data(data, fields=FIELDS, against=[str(bench)], against_field="problem")
    assert rows_of(capsys.readouterr().out) == {
        "readable row (a bad one ends a run)": [8, 2, 6],
        "contradictions": [6, 2, 4],
        "integer answer": [4, 1, 3],
        "repeats": [3, 1, 2],
        "8-gram overlap": [2, 1, 1],
    }


def test_broken_rows_are_named(data, capsys):
    check_data(data, fields=FIELDS, against=[])
    text = capsys.readouterr().out.replace("\n", " ")
    assert "line 7" in text
    assert "line 8" in text


def test_data_of_which_nothing_is_left_is_an_error(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": "pi?", "answer": "3.14"}')
    with pytest.raises(DataError, match="no problem is left"):
        check_data(str(path), fields=Fields(), against=[])
