import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.corpus.worked import Kind, attempts
from rstar2.protocol.answer import extract_answer
from rstar2.protocol.parse import parse_turn
from rstar2.protocol.template import Message
from rstar2.training.demonstrations import GIVE_UP, Demonstrator, instruction
from rstar2.types import MalformedCall, Problem, ToolCall

PROBLEM = Problem(id="p", question="What is the GCD of 12, 18?", answer="6", task="gcd")
EVEN = {Kind.RIGHT: 1.0, Kind.WRONG: 1.0, Kind.BROKEN: 1.0}


def demonstrator(
    *,
    kinds: dict[Kind, float] = EVEN,
    malformed_share: float = 0.0,
    retry_share: float = 0.5,
    mended_share: float = 0.0,
    tool_response_chars: int = 160,
) -> Demonstrator:
    return Demonstrator(
        proportions=kinds,
        malformed_share=malformed_share,
        retry_share=retry_share,
        mended_share=mended_share,
        tool_response_chars=tool_response_chars,
    )


def demonstrate(seed: int, **manner: Any) -> list[Message]:
    return demonstrator(**manner).conversation(PROBLEM, random.Random(seed))


@given(seed=st.integers(0), malformed_share=st.floats(0, 1))
def test_a_demonstration_is_one_or_two_answered_calls_and_then_an_answer(
    seed: int, malformed_share: float
) -> None:
    *calls, last = demonstrate(seed, malformed_share=malformed_share)
    assert [message["role"] for message in calls] in (["assistant", "tool"], ["assistant", "tool"] * 2)
    for message in calls[::2]:
        assert isinstance(parse_turn(message["content"]), ToolCall | MalformedCall)
    assert parse_turn(last["content"]) is None
    answer, num_answers = extract_answer(last["content"])
    assert (answer is not None, num_answers) == (True, 1)


@given(st.integers(0))
def test_a_right_call_is_shown_its_output_and_answered_with_it(seed: int) -> None:
    call, shown, last = demonstrate(seed, kinds={Kind.RIGHT: 1.0})
    parsed = parse_turn(call["content"])
    assert isinstance(parsed, ToolCall)
    assert parsed.readable in attempts("gcd", PROBLEM.question).right
    assert shown["content"] == "6"
    assert extract_answer(last["content"])[0] == "6"


def test_the_answer_is_what_the_tool_printed_whether_right_or_not() -> None:
    answers = set()
    for seed in range(30):
        _, shown, last = demonstrate(seed, kinds={Kind.WRONG: 1.0})
        assert extract_answer(last["content"])[0] == shown["content"]
        answers.add(shown["content"])
    assert answers == {"18", "36", "12"}, "the maximum, the LCM and the minimum"


def test_after_a_failed_call_half_try_again_and_all_who_fail_twice_give_up() -> None:
    lengths = Counter()
    for seed in range(400):
        messages = demonstrate(seed, kinds={Kind.BROKEN: 1.0})
        assert messages[-1]["content"] == GIVE_UP
        assert all(m["content"].startswith("tool call failed") for m in messages if m["role"] == "tool")
        lengths[len(messages)] += 1
    assert set(lengths) == {3, 5}
    assert lengths[3] == pytest.approx(200, abs=50)


def test_who_mends_what_failed_tries_again_and_is_right() -> None:
    for seed in range(100):
        manner = {"retry_share": 1.0, "mended_share": 1.0, "malformed_share": 1.0}
        first, shown, second, read, last = demonstrate(seed, kinds={Kind.BROKEN: 1.0}, **manner)
        assert isinstance(parse_turn(first["content"]), MalformedCall)
        assert shown["content"].startswith("tool call failed")
        assert isinstance(parse_turn(second["content"]), ToolCall)
        assert (read["content"], extract_answer(last["content"])[0]) == ("6", "6")


def test_a_bare_answer_is_what_an_attempt_would_print_or_made_up() -> None:
    for kind, answers in ((Kind.RIGHT, {"6"}), (Kind.WRONG, {"18", "36", "12"}), (Kind.BROKEN, {"0"})):
        speaker = demonstrator(kinds={kind: 1.0})
        spoken = [speaker.bare_answer(PROBLEM, random.Random(seed)) for seed in range(30)]
        assert all(len(messages) == 1 for messages in spoken)
        assert {extract_answer(messages[0]["content"])[0] for messages in spoken} == answers


def test_malformed_calls_come_in_their_share_and_in_every_kind_that_the_parser_tells_apart() -> None:
    first_calls = [parse_turn(demonstrate(seed, malformed_share=0.25)[0]["content"]) for seed in range(800)]
    malformed = [call for call in first_calls if isinstance(call, MalformedCall)]
    assert len(malformed) == pytest.approx(200, abs=40)
    assert {call.status.value for call in malformed} == {"malformed", "unknown_tool", "bad_arguments"}


def test_tool_responses_are_as_short_as_in_rollouts() -> None:
    for seed in range(50):
        messages = demonstrate(seed, kinds={Kind.BROKEN: 1.0}, tool_response_chars=32)
        shown = [message["content"] for message in messages if message["role"] == "tool"]
        assert all(len(text) <= 32 + len("\n... 1000 characters left out ...\n") for text in shown)


def test_an_instruction_is_followed_without_a_tool() -> None:
    asked = [instruction(random.Random(seed)) for seed in range(50)]
    for question, (reply,) in asked:
        answer, _ = extract_answer(reply["content"])
        assert answer is not None
        assert f" {answer}" in question
    assert any(one != other for one, other in pairwise(asked))
