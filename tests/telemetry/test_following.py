import json

from rstar2.telemetry import Follower, JsonLines


def read(follower: Follower, seen: list[object]) -> list[object]:
    """What was seen so far and what is new, as one who follows keeps it."""
    for line in follower.new_lines(on_cut_back=seen.clear):
        seen.append(line.record["n"])
    return list(seen)


def test_every_line_is_read_once_as_the_file_grows(tmp_path):
    lines, seen = JsonLines(tmp_path / "x.jsonl"), []
    follower = Follower(lines.path)
    assert read(follower, seen) == []
    lines.append({"n": 1})
    assert read(follower, seen) == [1]
    lines.append({"n": 2})
    lines.append({"n": 3})
    assert read(follower, seen) == [1, 2, 3]
    assert read(follower, seen) == [1, 2, 3]


def test_a_torn_line_is_read_when_it_is_whole(tmp_path):
    path, seen = tmp_path / "x.jsonl", []
    follower = Follower(path)
    path.write_text('{"n": 1}\n{"n"')
    assert read(follower, seen) == [1]
    path.write_text('{"n": 1}\n{"n": 2}\n')
    assert read(follower, seen) == [1, 2]


def test_a_file_that_was_cut_back_is_read_anew_even_if_it_has_grown_since(tmp_path):
    lines, seen = JsonLines(tmp_path / "x.jsonl"), []
    follower = Follower(lines.path)
    lines.append({"n": 1})
    kept = lines.num_bytes
    lines.append({"n": 2})
    assert read(follower, seen) == [1, 2]
    lines.cut_back(kept)
    assert read(follower, seen) == [1]
    lines.append({"n": 5})
    assert read(follower, seen) == [1, 5]
    lines.cut_back(kept)
    for number in (6, 7, 8):
        lines.append({"n": number})
    assert read(follower, seen) == [1, 6, 7, 8]


def test_lines_tell_where_they_stand(tmp_path):
    lines = JsonLines(tmp_path / "x.jsonl")
    for text in ("\u00e9", "b"):
        lines.append({"text": text})
    raw = lines.path.read_bytes()
    found = list(Follower(lines.path).new_lines(on_cut_back=lambda: None))
    assert [json.loads(raw[line.begin : line.end]) for line in found] == [line.record for line in found]
