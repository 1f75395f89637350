import json

import pytest

from rstar2.errors import InputError
from rstar2.evaluation.transcripts import Transcripts
from rstar2.types import Problem

PROBLEM = Problem(id="test/algebra/1.json", question="1 + 1?", answer="2")
RECORDS = [
    {"problem": PROBLEM.id, "question": PROBLEM.question, "expected": "2", "reward": r, "text": "\u20ac\n"}
    for r in (0, 1)
]


def test_what_is_kept_is_found_again_by_whoever_asks_for_the_same(tmp_path):
    Transcripts(tmp_path / "a/b", {"seed": 1, "ks": (1, 2)}).keep(3, PROBLEM, RECORDS)
    again = Transcripts(tmp_path / "a/b", {"seed": 1, "ks": (1, 2)})
    assert again.records(3, PROBLEM) == RECORDS
    assert again.records(4, PROBLEM) is None
    assert [path.name for path in (tmp_path / "a/b").glob("*.jsonl")] == ["0003-test-algebra-1.json.jsonl"]


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"seed": 2}, "holds another evaluation .seed is 1 there and 2 here"),
        ({"seed": 1, "extra": None}, "of a version of rstar2 that did not note extra"),
        ({}, "holds another evaluation"),
    ],
)
def test_another_evaluation_may_not_go_on_in_the_folder(tmp_path, other, complaint):
    Transcripts(tmp_path, {"seed": 1})
    with pytest.raises(InputError, match=complaint):
        Transcripts(tmp_path, other)


def test_problems_that_changed_their_order_are_not_mistaken_for_each_other(tmp_path):
    transcripts = Transcripts(tmp_path, {})
    transcripts.keep(0, PROBLEM, RECORDS)
    same_name = Problem(id="test-algebra/1.json", question="1 + 1?", answer="2")
    with pytest.raises(InputError, match="is of another problem"):
        transcripts.records(0, same_name)


def test_rollouts_that_were_scored_by_another_answer_do_not_count(tmp_path):
    transcripts = Transcripts(tmp_path, {})
    transcripts.keep(0, PROBLEM, RECORDS)
    with pytest.raises(InputError, match="another answer to it"):
        transcripts.records(0, Problem(id=PROBLEM.id, question=PROBLEM.question, answer="3"))


def test_a_file_that_was_not_finished_is_not_there(tmp_path):
    transcripts = Transcripts(tmp_path, {})
    (tmp_path / ".0000-test-algebra-1.json.jsonl.partial").write_text('{"half')
    assert transcripts.records(0, PROBLEM) is None


def test_the_score_lies_beside_the_transcripts(tmp_path):
    path = Transcripts(tmp_path, {}).keep_score({"all": 1})
    assert json.loads(path.read_text()) == {"all": 1}


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        Transcripts(tmp_path / "file" / "folder", {})
