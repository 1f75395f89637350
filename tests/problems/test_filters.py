from functools import partial

import pytest

from rstar2.errors import DataError
from rstar2.problems.filters import (
    PassRate,
    apply_filters,
    training_filters,
    with_integer_answers,
    with_pass_rate,
    with_single_answers,
    with_verifiable_answers,
    without_contradictions,
    without_exact_repeats,
    without_huge_answers,
    without_long_questions,
    without_respelled_repeats,
)
from rstar2.types import Problem


def problems_of(*pairs: tuple[str, str]) -> list[Problem]:
    return [
        Problem(id=str(i), question=question, answer=answer) for i, (question, answer) in enumerate(pairs)
    ]


def ids(problems) -> str:
    return "".join(problem.id for problem in problems)


def test_only_integers_stay_and_are_spelled_alike():
    answers = (
        "007",
        "1,234",
        "4.0",
        r"\frac{1}{2}",
        "$-3$",
        "Perimeter=54cm, Area=180cm",
        "The limit does not exist",
    )
    kept = with_integer_answers(problems_of(*((str(i), a) for i, a in enumerate(answers))))
    assert [p.answer for p in kept] == ["7", "1234", "-3"]
    assert ids(kept) == "014"


@pytest.mark.parametrize(
    ("answer", "is_verifiable", "is_single"),
    [
        ("7", True, True),
        ("-1,234,567", True, True),
        (r"10,\!080", True, True),
        ("10{,}000", True, True),
        (r"10,\,080", True, True),
        (r"12,\ 345", True, False),
        ("\\frac{1}{2}", True, True),
        ("\\sqrt{\\pi}", True, True),
        ("54cm", True, True),
        ("x = 3", True, True),
        ("The limit does not exist", False, True),
        ("none", False, True),
        ("", False, True),
        ("Perimeter=54cm, Area=180cm^2", True, False),
        ("1, 2", True, False),
        ("2 and 3", True, False),
        ("4; 5", True, False),
        ("x=1 \\text{ or } x=2", True, False),
    ],
)
def test_answers_in_words_or_of_several_parts_go(answer, is_verifiable, is_single):
    problems = problems_of(("q", answer))
    assert with_verifiable_answers(problems) == problems * is_verifiable
    assert with_single_answers(problems) == problems * is_single


def test_huge_answers_go_and_the_sign_is_no_digit():
    problems = problems_of(("a", "-123"), ("b", "1234"), ("c", "9" * 5000))
    assert ids(without_huge_answers(problems, max_digits=3)) == "0"


def test_long_questions_go():
    assert ids(without_long_questions(problems_of(("abc", "1"), ("abcd", "2")), max_chars=3)) == "0"


def test_repeats_keep_their_first():
    problems = problems_of(
        ("What is 2?", "2"), ("what  is 2?", "2"), ("What is 2?", "2"), ("What is -2?", "-2")
    )
    assert ids(without_exact_repeats(problems)) == "013"
    assert ids(without_respelled_repeats(problems)) == "03"


def test_a_question_with_two_answers_goes_altogether():
    problems = problems_of(("a", "1"), ("b", "2"), ("A ", "3"), ("b", "2"))
    assert ids(without_contradictions(problems)) == "13"


@pytest.mark.parametrize(
    ("answers", "num_kept"),
    [
        (("12", "$012$", ""), 3),
        (("12", r"12 \text{ cm}^2", "12.0", "x = 12", r"12^\circ", r"\boxed{12}", r"\$12", r"12\%"), 8),
        (("12", r"13 \text{ cm}"), 0),
        (("12", "12.01"), 0),
        (("12", r"12\pi"), 0),
        (("12", r"\frac{25}{2}"), 0),
        ((r"\frac12", r"\frac12"), 2),
        (("", ""), 2),
    ],
)
def test_labels_contradict_each_other_by_what_they_say(answers, num_kept):
    assert len(without_contradictions(problems_of(*(("q", answer) for answer in answers)))) == num_kept


def test_the_integer_filter_hides_no_contradiction():
    problems = problems_of(("a", "12"), ("a", "25/2"), ("b", "1"))
    assert ids(apply_filters(problems, training_filters([]))[0]) == "2"


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, "0123"), ({"min_solved": 2}, "23"), ({"drop_all_solved": True}, "012"),
     ({"min_solved": 2, "drop_all_solved": True}, "2")],
)  # fmt: skip
def test_pass_rates_drop_what_is_too_hard_or_too_easy(options, kept):
    problems = problems_of(("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"))
    rates = {str(i): PassRate(num_solved=n, num_attempts=16) for i, n in enumerate((0, 1, 2, 16))}
    assert ids(with_pass_rate(problems, rates, **options)) == kept


def test_a_problem_without_a_pass_rate_is_an_error():
    with pytest.raises(DataError, match="no pass rate for 1 problems, first '0'"):
        with_pass_rate(problems_of(("a", "1")), {})


def test_every_filter_is_counted():
    problems = problems_of(("a", "1"), ("b", "x"), ("a", "1"))
    kept, counts = apply_filters(
        problems, {"integers": with_integer_answers, "repeats": without_exact_repeats}
    )
    assert ids(kept) == "0"
    assert [str(count) for count in counts] == ["integers: 3 -> 2 (-1)", "repeats: 2 -> 1 (-1)"]


def test_overlap_is_a_filter_only_where_there_is_a_benchmark():
    names = ["contradictions", "integer answer", "repeats"]
    assert list(training_filters([])) == names
    assert list(training_filters(["How many?"])) == [*names, "8-gram overlap"]


def test_filters_that_leave_nothing_are_an_error():
    with pytest.raises(DataError, match=r"no problem is left \(huge: 1 -> 0 \(-1\)\)"):
        apply_filters(problems_of(("a", "123")), {"huge": partial(without_huge_answers, max_digits=2)})
