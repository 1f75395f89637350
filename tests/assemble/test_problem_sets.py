"""What is trained on and what is measured on are apart, clean, and refused when empty."""

import json
from collections import Counter
from pathlib import Path

import pytest

from rstar2.assemble import problem_sets
from rstar2.config import FieldMap, ProblemsSection
from rstar2.errors import DataError, InputError


def test_train_and_test_problems_never_share_a_question() -> None:
    section = ProblemsSection(tasks={"gcd": {}, "lcm": {}}, num_train=300, num_test=40)
    train, test = problem_sets(section, seed=7)
    assert len(train) == 300
    assert len(test) == 40
    assert not {p.question for p in train} & {p.question for p in test}
    assert problem_sets(section, seed=8)[1] == test, "all runs are measured on the same problems"
    assert problem_sets(section, seed=8)[0] != train


def rows(path: Path, *pairs: tuple[str, str]) -> str:
    path.write_text("".join(json.dumps({"q": q, "a": a}) + "\n" for q, a in pairs))
    return str(path)


def test_problems_from_files_are_cleaned_and_decontaminated(tmp_path: Path) -> None:
    leaked = "how many apples do nine people eat in three whole days"
    section = ProblemsSection(
        source="files",
        train_files=(
            rows(tmp_path / "train.jsonl", ("1+1?", "2"), ("1+1?", "2"), ("pi?", "3.14"), (leaked, "3")),
        ),
        test_files=(rows(tmp_path / "test.jsonl", (f"Say {leaked} please", "3")),),
        fields=FieldMap(question="q", answer="a"),
    )
    train, test = problem_sets(section, seed=0)
    assert [p.question for p in train] == ["1+1?"]
    assert len(test) == 1


def test_of_contradicting_labels_none_is_trained_on(tmp_path: Path) -> None:
    section = ProblemsSection(
        source="files",
        train_files=(rows(tmp_path / "train.jsonl", ("2+2?", "5"), ("2+2?", "4"), ("3+3?", "6")),),
        test_files=(rows(tmp_path / "test.jsonl", ("e?", "3")),),
        fields=FieldMap(question="q", answer="a"),
    )
    assert [p.question for p in problem_sets(section, seed=0)[0]] == ["3+3?"]


def test_data_that_the_filters_empty_is_the_users_mistake(tmp_path: Path) -> None:
    section = ProblemsSection(
        source="files",
        train_files=(rows(tmp_path / "train.jsonl", ("pi?", "3.14")),),
        test_files=(rows(tmp_path / "test.jsonl", ("e?", "3")),),
        fields=FieldMap(question="q", answer="a"),
    )
    with pytest.raises(InputError, match="no problem is left"):
        problem_sets(section, seed=0)


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    section = ProblemsSection(source="files", train_files=("nowhere.jsonl",), test_files=("nowhere.jsonl",))
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        problem_sets(section, seed=0)


def test_files_are_used_whole_unless_fewer_are_asked_for(tmp_path: Path) -> None:
    def named(name: str, size: int) -> str:
        return rows(tmp_path / f"{name}.jsonl", *((f"{name} {i}?", str(i)) for i in range(size)))

    whole = ProblemsSection(
        source="files",
        train_files=(named("dapo", 5000), rows(tmp_path / "euler.jsonl", ("e?", "1"), ("e?", "1"))),
        test_files=(named("math500", 500), named("aime24", 30)),
        fields=FieldMap(question="q", answer="a"),
    )
    said: list[str] = []
    train, test = problem_sets(whole, seed=0, say=said.append)
    assert Counter(p.task for p in train) == {"dapo": 5000, "euler": 1}
    assert Counter(p.task for p in test) == {"math500": 500, "aime24": 30}
    assert said == ["problems of problems.train_files: repeats: 5002 -> 5001 (-1)"]
    fewer = whole.model_copy(update={"num_train": 100, "num_test": 200})
    train, test = problem_sets(fewer, seed=0, say=said.append)
    assert len(train) == 100
    assert Counter(p.task for p in test) == {"math500": 189, "aime24": 11}
    assert said[2:] == [
        "problems: 100 of 5001 used (problems.num_train)",
        "problems: 200 of 530 used (problems.num_test)",
    ]
    other_train, same_test = problem_sets(fewer, seed=1)
    assert same_test == test, "all runs are measured on the same problems"
    assert other_train != train


def test_a_file_of_several_tasks_keeps_the_share_of_each(tmp_path: Path) -> None:
    def of_tasks(name: str, *tasks: str) -> str:
        lines = [{"question": f"{task} {i}?", "answer": i, "task": task} for task in tasks for i in range(10)]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(tmp_path / name)

    section = ProblemsSection(
        source="files",
        train_files=(of_tasks("problems.jsonl", "dapo", "aops"),),
        test_files=(of_tasks("test.jsonl", "aime24"),),
        num_train=10,
        fields=FieldMap(task="task"),
        decontaminate_against=(numbered(tmp_path / "without_task.jsonl", "1+1?"),),
    )
    train, test = problem_sets(section, seed=0)
    assert Counter(p.task for p in train) == {"dapo": 5, "aops": 5}
    assert {p.task for p in test} == {"aime24"}


def numbered(path: Path, question: str) -> str:
    path.write_text(json.dumps({"id": 1, "question": question, "answer": 2}) + "\n")
    return str(path)


def test_an_id_cannot_stand_for_two_questions_of_two_files(tmp_path: Path) -> None:
    first, second = numbered(tmp_path / "a.jsonl", "1+1?"), numbered(tmp_path / "b.jsonl", "4-2?")
    again = numbered(tmp_path / "c.jsonl", "1+1? ")
    test = numbered(tmp_path / "test.jsonl", "0+2?")
    fields = FieldMap(id="id")
    clashing = ProblemsSection(source="files", train_files=(first, second), test_files=(test,), fields=fields)
    with pytest.raises(DataError, match=r"the id '1' .*a\.jsonl .*b\.jsonl: make ids unique, or leave"):
        problem_sets(clashing, seed=0)
    agreeing = clashing.model_copy(update={"train_files": (first, again), "decontaminate_against": (second,)})
    assert [p.id for p in problem_sets(agreeing, seed=0)[0]] == ["1"]


def test_validation_problems_are_neither_trained_nor_tested_on() -> None:
    section = ProblemsSection(tasks={"gcd": {}}, num_train=100, num_test=20, num_validation=20)
    train, validation = problem_sets(section, split="validation", seed=0)
    _, test = problem_sets(section, seed=0)
    questions = [p.question for p in (*train, *validation, *test)]
    assert len(set(questions)) == 140


def test_a_split_without_files_is_the_users_mistake(tmp_path: Path) -> None:
    train, test = rows(tmp_path / "a.jsonl", ("1+1?", "2")), rows(tmp_path / "b.jsonl", ("1+2?", "3"))
    section = ProblemsSection(
        source="files", train_files=(train,), test_files=(test,), fields=FieldMap(question="q", answer="a")
    )
    with pytest.raises(InputError, match="validation_files is empty"):
        problem_sets(section, split="validation", seed=0)
