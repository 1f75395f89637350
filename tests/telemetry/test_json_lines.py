import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.telemetry import JsonLines

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RECORDS = st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.floats(allow_nan=False)), max_size=5)


@given(records=RECORDS)
def test_records_come_back_in_order_from_one_line_each(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]]
) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "metrics.jsonl")
    for record in records:
        lines.append(record)
    assert list(lines) == records


def test_a_file_that_was_never_written_is_empty(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.cut_back(0)
    assert (list(lines), lines.num_bytes) == ([], 0)


def test_cutting_back_forgets_everything_after_and_appending_goes_on_from_there(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 1, "text": "\u00e9"})
    known = lines.num_bytes
    assert known == len((tmp_path / "metrics.jsonl").read_bytes())
    lines.append({"step": 2})
    lines.cut_back(known)
    lines.append({"step": 3})
    assert [record["step"] for record in lines] == [1, 3]


def test_a_line_torn_by_a_kill_is_left_out_and_cut_away(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 1})
    known = lines.num_bytes
    with lines.path.open("a") as file:
        file.write('{"step": 2, "rew')
    assert [record["step"] for record in lines] == [1]
    lines.cut_back(known)
    assert lines.path.read_text() == json.dumps({"step": 1}) + "\n"


def test_a_file_shorter_than_what_is_known_keeps_its_whole_lines(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 1})
    lines.cut_back(10_000)
    assert [record["step"] for record in lines] == [1]


def test_appending_is_safe_to_a_file_whose_end_a_power_cut_took(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    for step in (1, 2):
        lines.append({"step": step})
    known = lines.num_bytes
    os.truncate(lines.path, known - 4)
    lines.cut_back(known)
    lines.append({"step": 3})
    assert [record["step"] for record in lines] == [1, 3]


def test_a_file_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.flush_to_disk()
    lines.cut_back(7)
    assert not lines.path.exists()
