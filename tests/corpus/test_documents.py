import json
import random
from collections import Counter

import pytest

from rstar2.corpus.documents import copy_document, document, pick_kind, worked_document
from rstar2.corpus.worked import Kind
from rstar2.types import Problem

PROBLEMS = [
    Problem(id=str(i), question=f"Find the GCD of {6 * i}, {9 * i}.", answer=str(3 * i), task="gcd")
    for i in range(1, 9)
]


@pytest.mark.parametrize(
    ("kind", "output"), [(Kind.RIGHT, "Output: 3\n"), (Kind.BROKEN, "Error"), (Kind.WRONG, "Output: ")]
)
def test_a_worked_document_tells_the_question_the_code_and_what_it_printed(kind: Kind, output: str) -> None:
    rng = random.Random(0)
    texts = [worked_document(PROBLEMS[0], {kind: 1.0}, rng) for _ in range(40)]
    records = [json.loads(text) for text in texts if text.startswith("{")]
    assert 8 < len(records) < 32, "about half of them are JSON"
    for record in records:
        assert record["question"] == "Find the GCD of 6, 9."
        assert "6, 9" in record["code"]
        assert output in f"Output: {record['output']}\n"
    for text in set(texts) - {text for text in texts if text.startswith("{")}:
        question, _, rest = text.partition("Python:\n")
        code, shown = rest.split("Output: ")
        assert question == "Question: Find the GCD of 6, 9.\n"
        assert "6, 9" in code
        assert output in f"Output: {shown}"


def test_a_drill_says_a_line_twice() -> None:
    rng = random.Random(0)
    for _ in range(200):
        first, second, end = copy_document(PROBLEMS, rng).split("\n")
        assert first.removeprefix("Copy: ") == second.removeprefix("Again: ") != ""
        assert end == ""


def test_drills_and_kinds_come_in_their_shares() -> None:
    rng = random.Random(0)
    texts = [document(PROBLEMS, proportions={Kind.RIGHT: 1}, copy_share=0.25, rng=rng) for _ in range(1000)]
    assert sum(text.startswith("Copy: ") for text in texts) == pytest.approx(250, abs=50)
    proportions = {Kind.RIGHT: 1.0, Kind.WRONG: 3.0, Kind.BROKEN: 0.0}
    counts = Counter(pick_kind(proportions, rng) for _ in range(1000))
    assert counts[Kind.RIGHT] == pytest.approx(250, abs=50)
    assert counts[Kind.BROKEN] == 0


def test_documents_depend_on_the_seed_alone() -> None:
    def texts(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [document(PROBLEMS, proportions={Kind.WRONG: 1}, copy_share=0.5, rng=rng) for _ in range(9)]

    assert texts(1) == texts(1) != texts(2)
