import os

import pytest

from rstar2.config import ProblemSource
from rstar2.preparation import shards
from rstar2.preparation.manifest import SourceCount, counts_of_drops
from rstar2.preparation.shards import Shard, fingerprint, write_whole

COUNT = SourceCount(
    name="s", origin="o", licence="MIT", paper=3, filters=counts_of_drops(9, [("a", 0), ("b", 0), ("c", 2)])
)


def test_a_shard_is_known_by_what_it_was_made_of(tmp_path):
    shard = Shard(tmp_path / "deep" / "s.jsonl")
    assert shard.count("x") is None
    shard.write(["1", "2"], COUNT, made_of="x")
    assert list(shard) == ["1", "2"]
    assert shard.count("x") == COUNT
    assert shard.count("y") is None


@pytest.mark.parametrize("lines_written", [0, 1])
def test_a_kill_while_it_is_written_leaves_no_shard_that_counts(tmp_path, lines_written):
    shard = Shard(tmp_path / "s.jsonl")
    shard.write(["old"], COUNT, made_of="x")

    def killed():
        yield from ["new"] * lines_written
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shard.write(killed(), COUNT, made_of="y")
    assert (shard.count("x"), shard.count("y")) == (None, None)


def test_a_torn_note_does_not_count(tmp_path):
    shard = Shard(tmp_path / "s.jsonl")
    shard.write(["1"], COUNT, made_of="x")
    note = tmp_path / "s.json"
    note.write_text(note.read_text()[:-5])
    assert shard.count("x") is None


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 4}', "null"])
def test_a_note_of_something_else_does_not_count(tmp_path, text):
    (tmp_path / "s.jsonl").write_text("1\n")
    (tmp_path / "s.json").write_text(text)
    assert Shard(tmp_path / "s.jsonl").count("x") is None


def test_a_shard_of_another_format_does_not_count_and_what_was_asked_does(tmp_path, monkeypatch):
    shard, asked = Shard(tmp_path / "s.jsonl"), fingerprint(7)
    shard.write(["a"], COUNT, made_of="x")
    assert shard.count("x") == COUNT
    monkeypatch.setattr(shards, "FORMAT", shards.FORMAT + 1)
    assert shard.count("x") is None
    assert fingerprint(7) == asked


def test_a_fingerprint_sees_settings_and_files(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("1")
    source = ProblemSource(path=str(path), licence="MIT")
    before = fingerprint(source, 7)
    assert before == fingerprint(source, 7) != fingerprint(source, 8)
    assert before != fingerprint(source.model_copy(update={"answer": "a"}), 7)
    os.utime(path, (1, 1))
    assert before != fingerprint(source, 7)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.jsonl"
    write_whole(path, ["old"])
    with pytest.raises(ZeroDivisionError):
        write_whole(path, (str(1 // n) for n in (1, 0)))
    assert path.read_text() == "old\n"


def test_filters_that_drop_nothing_are_not_told_but_the_first():
    assert [(f.name, f.num_before, f.num_after) for f in COUNT.filters] == [("a", 9, 9), ("c", 9, 7)]
    assert (COUNT.num_rows, COUNT.num_kept) == (9, 7)
