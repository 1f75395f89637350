import os

import pytest

from rstar2.errors import InputError
from rstar2.verbs import output_file
from rstar2.verbs.output_file import check_writable


def test_a_file_that_can_be_written_is_neither_made_nor_touched(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("kept")
    for path in (old, tmp_path / "new.json"):
        check_writable(path, option="--out")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert old.read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("missing/new.json", "does not exist: make it"), (".", "is a folder: give --out the name of a file")],
)
def test_what_is_no_place_for_a_file_is_refused(tmp_path, name, complaint):
    with pytest.raises(InputError, match=complaint):
        check_writable(tmp_path / name, option="--out")


@pytest.mark.parametrize("is_there", [True, False])
def test_missing_rights_are_refused(tmp_path, monkeypatch, is_there):
    path = tmp_path / "result.json"
    if is_there:
        path.touch()
    asked = path if is_there else tmp_path
    monkeypatch.setattr(output_file.os, "access", lambda what, mode: (what, mode) != (asked, os.W_OK))
    with pytest.raises(InputError, match="may not be written"):
        check_writable(path, option="--out")
