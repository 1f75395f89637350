from pathlib import Path

import pytest

from rstar2.telemetry import replace_text


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "a.json"
    for text in ("old", "\u00e9 new"):
        replace_text(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_whole_leaves_the_old_file(tmp_path, monkeypatch):
    def torn(path: Path, text: str, **_: str) -> None:
        path.write_bytes(text[:1].encode())
        raise OSError("no space left")

    file = tmp_path / "a.json"
    replace_text(file, "old")
    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="no space"):
        replace_text(file, "new")
    assert file.read_bytes() == b"old"
