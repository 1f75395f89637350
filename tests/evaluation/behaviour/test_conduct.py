import pytest

from rstar2.evaluation.behaviour.conduct import MEASURES, Conduct, conduct
from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.types import ToolCall


@pytest.fixture
def of(words, record):
    """The counts of a rollout that makes these calls: (program, status, response)."""

    def count(*calls: tuple[str | None, str, str], answer: str | None = "6", reward: float = 1.0) -> Conduct:
        texts = ["</reason>turn" for _ in calls]
        return conduct(
            RecordedRollout.of(
                record(
                    *texts,
                    "</reason>end",
                    calls=[*(program for program, _, _ in calls), None],
                    statuses=[status for _, status, _ in calls],
                    responses=[response for _, _, response in calls],
                    answer=answer,
                    reward=reward,
                ),
                words,
            )
        )

    return count


def test_calls_and_failures_are_counted_by_status(of):
    found = of(("f(", "exception", "failed"), ("no json", "malformed", "failed"), ("f()", "ok", "6"))
    assert (found.num_turns, found.num_calls, found.num_failed) == (4, 3, 2)
    assert found.num_tokens == 3 * 3 + 3


def test_the_same_program_again_is_redundant_but_for_blanks(of):
    assert of(("a = 1\nb = 2", "ok", "1"), ("a = 1  \n\nb = 2\n", "ok", "2")).num_redundant == 1
    assert of(("a = 1", "ok", "1"), ("a = 2", "ok", "2")).num_redundant == 0


def test_another_indentation_or_another_input_is_another_program(of):
    inside = ("for i in a:\n    s += i\n    print(s)", "ok", "1\n3")
    outside = ("for i in a:\n    s += i\nprint(s)", "ok", "3")
    assert of(inside, outside).num_redundant == 0
    square = "print(int(input())**2)"
    calls = [ToolCall.of("python", {"code": square, "input": stdin}).readable for stdin in ("3", "4", "3")]
    assert of(*((call, "ok", str(n)) for n, call in enumerate(calls))).num_redundant == 1


def test_the_same_response_again_is_redundant_unless_it_is_that_of_a_failure(of):
    assert of(("a", "ok", "1"), ("b", "ok", "1"), ("c", "ok", "1")).num_redundant == 2
    assert of(("a", "exception", "1"), ("b", "exception", "1")).num_redundant == 0
    assert of(("a", "exception", "1"), ("a", "exception", "1")).num_redundant == 1


def test_what_could_not_be_read_as_a_call_is_not_redundant(of):
    assert of(("bad JSON", "malformed", "failed"), ("bad JSON", "malformed", "failed")).num_redundant == 0


def test_a_call_after_the_answer_was_seen_is_a_verification(of):
    assert of(("f(2, 3)", "ok", "6"), ("2 * 3 == 6", "ok", "True")).num_verifications == 1
    assert of(("f(2, 3)", "ok", "6"), ("2 * 3", "ok", "6")).num_verifications == 1


@pytest.mark.parametrize(
    "calls",
    [
        [("f", "ok", "6")],
        [("f", "ok", "6"), ("f", "ok", "6")],
        [("f", "ok", "7"), ("g", "ok", "6")],
        [("f", "ok", "16"), ("g", "ok", "1")],
        [("f", "ok", "6.5"), ("g", "ok", "1")],
        [("f", "ok", "-6"), ("g", "ok", "1")],
        [("f", "exception", "6"), ("g", "ok", "1")],
        [("f", "ok", "6"), ("g", "exception", "failed")],
    ],
    ids=["one", "same", "last", "inside", "decimal", "negative", "not run", "check failed"],
)
def test_other_calls_are_no_verification(of, calls):
    assert of(*calls).num_verifications == 0


def test_without_an_answer_nothing_was_verified(of):
    assert of(("f", "ok", "None"), ("g", "ok", "6"), answer=None).num_verifications == 0


def test_an_answer_at_the_end_of_a_sentence_is_seen(of):
    assert of(("f", "ok", "It is 6."), ("g", "ok", "1")).num_verifications == 1


def test_measures_by_hand(of):
    rollouts = [
        of(("f", "exception", "failed"), ("g", "ok", "6")),
        of(("f", "ok", "6"), ("g", "ok", "6")),
        of(("f", "time_limit", "failed"), reward=0.0),
        of(reward=0.0, answer=None),
    ]
    values = {m.title: m.of(rollouts, seed=0).value for m in MEASURES}
    assert values == {
        "right": 2 / 4,
        "turns": (3 + 3 + 2 + 1) / 4,
        "tokens written": (9 + 9 + 6 + 3) / 4,
        "calls": 5 / 4,
        "calls per right answer": 5 / 2,
        "failed calls": 2 / 5,
        "right after a failed call": 1 / 2,
        "redundant calls": 1 / 5,
        "verified before answering": 1 / 4,
    }
