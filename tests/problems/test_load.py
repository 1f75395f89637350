import json
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rstar2.errors import DataError
from rstar2.problems.load import Fields, load
from rstar2.problems.rows import read_rows
from rstar2.types import Problem

NESTED = Fields(
    question="prompt.0.content", answer="reward_model.ground_truth", id="extra.index", task="source"
)
NESTED_ROW = {
    "prompt": [{"role": "user", "content": " How many? "}],
    "reward_model": {"ground_truth": "007"},
    "extra": {"index": 12},
    "source": "counting",
}


def jsonl(folder, *lines) -> str:
    path = folder / "sums.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return str(path)


def test_a_plain_row_needs_no_mapping(tmp_path):
    source = jsonl(tmp_path, {"question": "1 + 1?", "answer": 2}, "", {"question": "2 + 2?", "answer": "4"})
    first, second = load(source).problems
    assert (first.question, first.answer, first.task) == ("1 + 1?", "2", "sums")
    assert len({first.id, second.id}) == 2


def test_the_default_id_depends_on_the_question_only(tmp_path):
    rows = [{"question": "What is 2?", "answer": "2"}, {"question": " what  is 2?", "answer": "3"}]
    first, second = load(jsonl(tmp_path, *rows)).problems
    assert first.id == second.id


def test_dotted_paths_reach_into_objects_and_lists(tmp_path):
    (problem,) = load(jsonl(tmp_path, NESTED_ROW), fields=NESTED).problems
    assert problem == Problem(id="12", question="How many?", answer="007", task="counting")


def test_parquet_and_jsonl_give_the_same_problems(tmp_path):
    pq.write_table(pa.Table.from_pylist([NESTED_ROW]), tmp_path / "rows.parquet")
    from_parquet = load(str(tmp_path / "rows.parquet"), fields=NESTED)
    assert from_parquet == load(jsonl(tmp_path, NESTED_ROW), fields=NESTED)


EXOTIC = {
    "finer than Python's": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
    "beyond the year 9999": pa.array([2**62]).view(pa.timestamp("us")),
    "of an unknown zone": pa.array([1], pa.timestamp("us", tz="Foo/Bar")),
}


@pytest.mark.parametrize("kind", EXOTIC)
def test_a_parquet_column_that_python_cannot_hold_matters_only_where_it_is_asked_for(tmp_path, kind):
    source = str(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"question": ["1 + 1?"], "answer": ["2"], "when": EXOTIC[kind]}), source)
    assert [problem.answer for problem in load(source).problems] == ["2"]
    with pytest.raises(DataError, match=r"rows\.parquet"):
        load(source, fields=Fields(answer="when"))


def test_a_column_that_parquet_lacks_is_named_beside_those_that_there_are(tmp_path):
    pq.write_table(pa.table({"question": ["1 + 1?"], "label": ["2"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"has no column 'answer' \(there is 'question', 'label'\); map"):
        load(str(tmp_path / "rows.parquet"))


def test_csv_and_jsonl_give_the_same_problems(tmp_path):
    (tmp_path / "sums.csv").write_text('answer,question\r\n2,"1 + 1,\nor ""one plus one""?"\r\n', "utf-8-sig")
    row = {"question": '1 + 1,\nor "one plus one"?', "answer": "2"}
    assert load(str(tmp_path / "sums.csv")) == load(jsonl(tmp_path, row))


def test_a_csv_field_may_be_long(tmp_path):
    (tmp_path / "long.csv").write_text(f"question,answer\n{'7' * 200_000},1\n")
    (problem,) = load(str(tmp_path / "long.csv")).problems
    assert len(problem.question) == 200_000


def test_a_csv_row_that_lacks_a_column_is_refused(tmp_path):
    (tmp_path / "sums.csv").write_text("question,answer\n1 + 1?\n")
    with pytest.raises(DataError, match="row 1: field 'answer' is None, no text"):
        load(str(tmp_path / "sums.csv"))


def test_wrong_answers_make_it_a_question_of_choices(tmp_path):
    fields = Fields(wrong_answers=("w1", "w2"))
    (problem,) = load(jsonl(tmp_path, GOOD | {"w1": "3", "w2": " 4 "}), fields=fields).problems
    assert problem.question.startswith("1 + 1?\n\nA) ")
    assert f"{problem.answer}) 2" in problem.question
    assert problem.id == load(jsonl(tmp_path, GOOD)).problems[0].id
    with pytest.raises(DataError, match="line 1: two of the choices are alike"):
        load(jsonl(tmp_path, GOOD | {"w1": "2", "w2": "4"}), fields=fields)


GOOD = {"question": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not json", r"line 2: is not JSON .*; mend or delete the line"),
        ("[1, 2]", r"line 2: is JSON but no object"),
        ({"question": "3?"}, r"line 2: has no field 'answer' \(at 'answer' there is 'question'\); map"),
        ({"question": "3?", "answer": None}, r"line 2: field 'answer' is None, no text"),
        ({"question": "3?", "answer": True}, r"line 2: field 'answer' is True, no text"),
        ({"question": "3 \ud835", "answer": "3"}, r"line 2: field 'question' holds half of a surrogate pair"),
        ("[" * 100_000, r"line 2: is not JSON .*; mend or delete the line"),
        ({"question": " ", "answer": "3"}, r"line 2: field 'question' is ' ', no text"),
    ],
)
def test_a_bad_row_is_named_or_skipped_and_counted(tmp_path, bad, message):
    source = jsonl(tmp_path, GOOD, bad)
    with pytest.raises(DataError, match=r"sums\.jsonl, " + message):
        load(source)
    loaded = load(source, skip_bad=True)
    assert (len(loaded.problems), len(loaded.complaints)) == (1, 1)


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"question": "\xff\xfe", "answer": "1"}\n' + json.dumps(GOOD).encode())
    assert len(load(str(path), skip_bad=True).complaints) == 1


def test_an_id_cannot_name_two_questions(tmp_path):
    rows = [{"id": "a", "question": question, "answer": "1"} for question in ("1?", "2?")]
    with pytest.raises(DataError, match=r"line 2: the id 'a' already belongs"):
        load(jsonl(tmp_path, *rows), fields=Fields(id="id"))


@pytest.mark.parametrize("path", ["prompt.1.content", "prompt.content", "source.0", "extra.index.deeper"])
def test_a_path_that_leads_nowhere_is_said(tmp_path, path):
    with pytest.raises(DataError, match=rf"line 1: has no field '{path}'"):
        load(jsonl(tmp_path, NESTED_ROW), fields=Fields(question=path, answer="source"))


def test_data_without_a_usable_row_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no usable row"):
        load(jsonl(tmp_path))
    with pytest.raises(DataError, match=r"no usable row \(1 bad"):
        load(jsonl(tmp_path, "{"), skip_bad=True)


def test_a_source_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing more")
    for name in ("missing.jsonl", "missing.parquet", "torn.parquet"):
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            load(str(tmp_path / name), skip_bad=True)
    with pytest.raises(DataError, match=r"neither \*\.jsonl"):
        load("problems.txt")


def test_hub_sources_name_data_set_split_and_config(monkeypatch):
    asked = []

    def load_dataset(name, config, *, split):
        asked.append((name, config, split))
        return [GOOD]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    (problem,) = load("hf:open-r1/DAPO-Math-17k-Processed:train:en").problems
    assert problem.task == "DAPO-Math-17k-Processed"
    load("hf:owner/name:test")
    assert asked == [("open-r1/DAPO-Math-17k-Processed", "en", "train"), ("owner/name", None, "test")]


def test_with_columns_a_hub_source_is_streamed_and_a_break_in_it_is_said(monkeypatch):
    def load_dataset(name, config, *, split, columns, streaming):
        assert (columns, streaming) == (["a", "b"], True)
        yield {"a": 1, "b": 2}
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    rows = read_rows("hf:owner/name", ("a", "b"))
    assert next(rows) == ("hf:owner/name, row 1", {"a": 1, "b": 2})
    with pytest.raises(DataError, match="cannot be loaded: no route"):
        next(rows)


def test_hub_failures_name_their_remedy(monkeypatch):
    def load_dataset(name, config, *, split):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match="cannot be loaded: no route"):
        load("hf:owner/name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install rstar2\[hub\]"):
        load("hf:owner/name")


def test_the_real_hub_library_reads_a_local_folder(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="the hub extra is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "counting"
    data.mkdir()
    jsonl(data, NESTED_ROW)
    (problem,) = load(f"hf:{data}", fields=NESTED).problems
    assert problem.question == "How many?"
