import pytest

from rstar2.errors import InputError
from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.types import ToolStatus


def test_turns_carry_their_calls_statuses_and_responses(words, record):
    found = RecordedRollout.of(
        record(
            "no call",
            "a call",
            "cut off",
            calls=["not a call", "print(6)", "print(7)"],
            statuses=["malformed", "ok"],
            responses=["failed", "6"],
        ),
        words,
    )
    assert [turn.code for turn in found.turns] == [None, "print(6)", "print(7)"]
    assert [turn.status for turn in found.turns] == [ToolStatus.MALFORMED, ToolStatus.OK, None]
    assert [turn.response is None for turn in found.turns] == [False, False, True]
    assert "\n6\n" in found.turns[1].response
    for turn in found.turns:
        assert found.token_ids[turn.start : turn.start + len(turn.token_ids)] == turn.token_ids


def test_sampled_tokens_are_taken_as_they_are_and_a_text_without_them_is_tokenized(words, record):
    line = record("a b", calls=[None], statuses=[])
    anew = RecordedRollout.of(line, words)
    assert not anew.has_sampled_tokens
    assert words.decode(anew.turns[0].token_ids) == "a b<|im_end|>"
    for segment in line["segments"]:
        segment["token_ids"] = [*words.encode("p"), *words.encode("q")]
        segment["text"] = "pq"  # which would be one token if it was tokenized
    sampled = RecordedRollout.of(line, words)
    assert sampled.has_sampled_tokens
    p, q = words.encode("p")[0], words.encode("q")[0]
    assert (sampled.token_ids, sampled.turns[0].start) == ((p, q, p, q), 2)


def test_tokens_of_another_tokenizer_are_refused(words, record):
    line = record("a b", calls=[None], statuses=[])
    for segment in line["segments"]:
        segment["token_ids"] = [token + 1 for token in words.encode(segment["text"])]
    words.encode("and one more")
    with pytest.raises(InputError, match="written with another tokenizer: give the model that played them"):
        RecordedRollout.of(line, words)


def test_a_line_of_another_file_is_refused(words):
    with pytest.raises(InputError, match=r"a line without 'problem' is no rollout: give a rollouts\.jsonl"):
        RecordedRollout.of({"step": 1, "reward": 0.5}, words)
