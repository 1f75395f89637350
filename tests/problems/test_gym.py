import pytest

from rstar2.errors import DataError
from rstar2.problems.gym import draw, split_of

TASKS = {"gcd": {}, "chain_sum": {"min_terms": 2, "max_terms": 4}}


def test_a_draw_is_a_function_of_its_seed():
    first = draw(TASKS, split="train", size=40, seed=3)
    assert first == draw(TASKS, split="train", size=40, seed=3)
    assert first != draw(TASKS, split="train", size=40, seed=4)


def test_neighbouring_seeds_share_next_to_nothing():
    first, second = (draw({"chain_sum": {}}, split="train", size=200, seed=s) for s in (1, 2))
    assert len({p.id for p in first} & {p.id for p in second}) < 20


def test_tasks_are_mixed_evenly_and_shuffled():
    problems = draw(TASKS, split="train", size=41, seed=0)
    families = [p.task for p in problems]
    assert sorted((families.count("gcd"), families.count("chain_sum"))) == [20, 21]
    assert families != sorted(families)


def test_splits_never_share_a_question_even_where_questions_repeat():
    small = {"gcd": {"min_value": 1, "max_value": 20}}
    train, validation, test = (
        {p.question for p in draw(small, split=split, size=12, seed=0)}
        for split in ("train", "validation", "test")
    )
    assert len(train | validation | test) == 36


def test_four_fifths_of_all_questions_are_for_training():
    shares = [split_of(f"What is {i} + {i}?") for i in range(2000)]
    assert 0.77 < shares.count("train") / 2000 < 0.83
    assert 0.08 < shares.count("validation") / 2000 < 0.12


def test_case_and_spaces_do_not_move_a_question_to_another_split():
    assert all(split_of(f"Add {i} and 2") == split_of(f" add  {i} AND 2\n") for i in range(50))


def test_a_draw_has_no_duplicates_and_only_canonical_integers():
    problems = draw(TASKS, split="train", size=300, seed=5)
    assert len({p.question for p in problems}) == len({p.id for p in problems}) == 300
    assert all(str(int(p.answer)) == p.answer for p in problems)
    assert all(p.id.startswith(f"{p.task}-train-") for p in problems)


def test_items_without_an_integer_answer_are_passed_over():
    problems = draw({"prime_factorization": {}}, split="train", size=9, seed=0)
    assert all(p.answer.isdigit() for p in problems), "only primes factor into one integer"


@pytest.mark.parametrize(
    ("tasks", "size", "message"),
    [
        ({"no_such_task": {}}, 4, "has no task"),
        ({"gcd": {"no_such_knob": 1}}, 4, "does not take"),
        ({"gcd": {"min_numbers": -3}}, 4, "does not take"),
        ({"gcd": {"seed": 3}}, 4, "does not take"),
        ({"power_function": {}}, 4, "no integer answers"),
        ({"gcd": {"min_value": 1, "max_value": 3}}, 50, r"gave only \d+ of 50 distinct train problems"),
        ({}, 4, "at least one"),
        (TASKS, 0, "at least one"),
    ],
)
def test_what_cannot_be_drawn_is_said(tasks, size, message):
    with pytest.raises(DataError, match=message):
        draw(tasks, split="train", size=size, seed=0)
