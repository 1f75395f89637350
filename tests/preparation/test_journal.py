import pytest

from rstar2.preparation.journal import Journal


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "deep" / "j.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"x": "\u2028\n"})
        assert ("a" in journal, "b" in journal) == (True, False)
    with Journal(path) as journal:
        assert journal["a"]["x"] == "\u2028\n"
        journal.add("b", {"x": 2})
    with Journal(path) as journal:
        assert journal["b"]["x"] == 2


def test_half_of_a_surrogate_pair_cannot_stop_it(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"x": "\ud83d!"})
    with Journal(path) as journal:
        assert journal["a"]["x"] == "?!"


@pytest.mark.parametrize("num_bytes", range(1, 12))
def test_a_line_torn_anywhere_is_forgotten_and_the_next_one_is_whole(tmp_path, num_bytes):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"x": 1})
        journal.add("b", {"x": 2})
    content = path.read_bytes()
    path.write_bytes(content[:-num_bytes])
    with Journal(path) as journal:
        assert ("a" in journal, "b" in journal) == (True, False)
        journal.add("c", {"x": 3})
    with Journal(path) as journal:
        assert ("a" in journal, "b" in journal, "c" in journal) == (True, False, True)


def test_lines_that_the_disk_damaged_are_asked_again_and_counted_in_one_warning(tmp_path, caplog):
    path = tmp_path / "j.jsonl"
    damaged = (b"\0" * 20, b"\0" * 7 + b'{"id": "b"}', b"[1]", b'{"text": "c"}', b'{"id": 4}', b"[" * 100_000)
    path.write_bytes(b"\n".join((b'{"id": "a", "text": "x"}', *damaged, b'{"id": "d"}', b"")))
    with Journal(path) as journal:
        assert ["a" in journal, "b" in journal, "d" in journal] == [True, False, True]
        journal.add("b", {"text": "y"})
    assert caplog.messages == [f"{path}: 6 damaged lines; what they held is asked again"]
    with Journal(path) as journal:
        assert journal["b"]["text"] == "y"
