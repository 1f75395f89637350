"""Rows as the benchmarks' publishers write them; the problems in them are ours."""

import csv
import json
import re
import tomllib
from pathlib import Path

import pytest

from rstar2.errors import DataError, InputError
from rstar2.evaluation.benchmarks import benchmark, names, problems_of

ROOT = Path(__file__).parents[2]

AIME24 = {
    "id": 60,
    "problem": "What is $2+40$?",
    "solution": "Add.",
    "answer": "42",
    "url": "https://example.org",
    "year": "2024",
}
AIME25 = {"question": "What is $6 \\cdot 7$?", "answer": "42"}
HMMT25 = {
    "problem_idx": 3,
    "problem": "What is half of 5?",
    "answer": "\\frac{5}{2}",
    "problem_type": ["Algebra"],
}
MATH500 = {
    "problem": "What is the square of $x+1$?",
    "solution": "Expand.",
    "answer": "x^2+2x+1",
    "subject": "Algebra",
    "level": 2,
    "unique_id": "test/algebra/1.json",
}
GPQA = {
    "Record ID": "rec1",
    "Question": "Which of these, in order,\nis a metal?",
    "Correct Answer": "iron",
    "Incorrect Answer 1": "neon",
    "Incorrect Answer 2": "argon\n",
    "Incorrect Answer 3": "boron, almost",
    "Subdomain": "Chemistry (general)",
}
ROWS = {"aime24": AIME24, "aime25": AIME25, "hmmt25": HMMT25, "math500": MATH500}


def written(folder: Path, *rows: dict[str, object]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_there_is_a_row_of_ours_for_every_benchmark():
    assert set(names()) == {*ROWS, "gpqa-diamond"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_in_the_benchmark_s_own_columns_is_a_problem(name, tmp_path):
    row = ROWS[name]
    (problem,) = problems_of(benchmark(name), [written(tmp_path, row)])
    assert (problem.task, problem.answer) == (name, row["answer"])
    assert problem.question == row[benchmark(name).fields.question]
    own_id = benchmark(name).fields.id
    assert problem.id == str(row[own_id]) if own_id else len(problem.id) == 16


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_question_of_choices_is_answered_by_a_letter(kind, tmp_path):
    path = tmp_path / f"gpqa.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps(GPQA) + "\n")
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, GPQA)
            writer.writeheader()
            writer.writerow(GPQA)
    (problem,) = problems_of(benchmark("gpqa-diamond"), [str(path)])
    assert problem.id == "rec1"
    assert problem.question.startswith(GPQA["Question"])
    assert f"\n{problem.answer}) iron" in problem.question
    assert all(choice in problem.question for choice in (") neon", ") argon", ") boron, almost"))


def test_the_files_of_a_benchmark_are_read_together_and_each_once(tmp_path):
    (tmp_path / "one").mkdir()
    first = written(tmp_path / "one", AIME25)
    second = written(tmp_path, AIME25 | {"question": "What is $7 \\cdot 7$?"})
    assert len(problems_of(benchmark("aime25"), [first, second])) == 2
    with pytest.raises(InputError, match="there twice"):
        problems_of(benchmark("aime25"), [first, first])


def test_another_benchmark_s_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no field 'problem'"):
        problems_of(benchmark("aime24"), [written(tmp_path, AIME25)])


def test_an_unknown_benchmark_is_told_which_there_are():
    with pytest.raises(InputError, match="aime24, aime25, hmmt25, math500, gpqa-diamond"):
        benchmark("aime23")


@pytest.mark.parametrize(
    ("name", "harness"), [("bfcl-v3", "bfcl-eval"), ("ifeval", "lm-eval"), ("arena-hard", "arena-hard-auto")]
)
def test_a_benchmark_of_a_harness_is_answered_by_who_measures_it(name, harness):
    with pytest.raises(InputError, match=rf"measured by {harness} .*docs/serving.md#harnesses"):
        benchmark(name)


@pytest.mark.parametrize("name", names())
def test_every_entry_has_the_paper_s_model_and_shares(name):
    entry = benchmark(name)
    assert entry.published[0].model == "rStar2-Agent-14B"
    assert all(0 < other.score < 1 for other in entry.published)
    assert entry.sources
    assert all(source.startswith("hf:") for source in entry.sources)


def test_scores_are_the_paper_s():
    """Tables 3 and 5, arXiv:2508.20722."""
    ours = {name: round(100 * benchmark(name).published[0].score, 1) for name in names()}
    assert ours == {"aime24": 80.6, "aime25": 69.8, "hmmt25": 52.7, "math500": 97.8, "gpqa-diamond": 60.9}


def test_the_page_has_the_scores_of_benchmarks_that_harnesses_measure():
    """The model after RL and after SFT, and two of others (Tables 1 and 5)."""
    page = (ROOT / "docs/evaluation.md").read_text()
    entries = tomllib.loads((ROOT / "src/rstar2/evaluation/benchmarks.toml").read_text())
    for name in entries.keys() - set(names()):
        row = re.search(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        assert row
        shown = [float(cell) for cell in row[0].split("|")[3:-1]]
        assert shown == [other["score"] for other in entries[name]["published"].values()]


def test_the_prompt_of_an_entry_has_a_place_for_the_question():
    entry = benchmark("gpqa-diamond")
    assert entry.prompt is not None
    assert "{question}" in entry.prompt
    assert "\\boxed{}" in entry.prompt
