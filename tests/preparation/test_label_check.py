"""Labels against a model that answers as it is told to."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.config import LabelCheckSection
from rstar2.preparation.label_check import Agreement, agreement, answered, is_certain, is_confirmed
from rstar2.types import Problem

PROBLEM = Problem(id="p", question="What is 3 + 4?", answer="7")


class Told:
    """Gives its answers in order, as many as are asked for."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers
        self.prompts: list[str] = []

    async def replies(self, messages, *, count):
        self.prompts.append(messages[0]["content"])
        taken, self.answers = self.answers[:count], self.answers[count:]
        return [f"It is \\boxed{{{7 if right else 8}}}." for right in taken]


def checked(answers: list[bool], **settings: int) -> tuple[Agreement, LabelCheckSection, Told]:
    section, model = LabelCheckSection(**settings), Told(answers)
    return asyncio.run(agreement(model, PROBLEM, section)), section, model


@given(
    answers=st.lists(st.booleans(), min_size=16, max_size=16),
    per_request=st.integers(1, 20),
    min_agreeing=st.integers(1, 16),
)
def test_stopping_early_never_changes_the_outcome(answers, per_request, min_agreeing):
    now, section, _ = checked(answers, answers_per_request=per_request, min_agreeing=min_agreeing)
    assert is_confirmed(now, section) == (sum(answers) >= min_agreeing)
    assert is_certain(now, section)
    assert now.num_answers <= 16


def test_two_that_agree_are_enough():
    now, _, model = checked([False, True, False, True, *[False] * 12], answers_per_request=2)
    assert now == Agreement(num_answers=4, num_agreeing=2)
    assert model.prompts == [model.prompts[0]] * 2
    assert "What is 3 + 4?" in model.prompts[0]


def test_a_problem_that_the_model_refuses_has_no_outcome():
    class Refusing:
        async def replies(self, messages, *, count):
            return None

    assert asyncio.run(agreement(Refusing(), PROBLEM, LabelCheckSection())) is None


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("\\boxed{ 007 }", "7"),
        ("\\boxed{1} or \\boxed{2,000}", "2000"),
        ("7", None),
        ("\\boxed{x}", None),
        ("", None),
    ],
)
def test_the_answer_is_the_integer_in_the_last_box(reply, answer):
    assert answered(reply) == answer


def test_records_come_back():
    assert Agreement.of_record(Agreement(16, 3).as_record()) == Agreement(16, 3)
