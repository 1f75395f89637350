import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.evaluation.behaviour.entropy import Kind, dense_runs, highest, kinds, scored
from rstar2.evaluation.behaviour.recorded import RecordedRollout
from rstar2.evaluation.behaviour.regions import Region
from rstar2.types import ToolStatus

T, C, A, F = Region.TEXT, Region.CODE, Region.ANSWER, Region.FORMAT


def flags(text: str) -> list[bool]:
    return [sign == "X" for sign in text]


def test_the_highest_fifth_is_a_fifth_and_never_nothing():
    assert highest([0.1, 3.0, 0.2, 2.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 0.2) == flags(".X.X......")
    assert highest([0.5, 0.5], 0.2) == flags("X.")


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50), st.sampled_from([0.1, 0.2, 0.5]))
def test_none_that_is_left_out_is_higher_than_one_that_is_not(values: list[float], share: float) -> None:
    chosen = highest(values, share)
    inside = [value for value, flag in zip(values, chosen, strict=True) if flag]
    outside = [value for value, flag in zip(values, chosen, strict=True) if not flag]
    assert len(inside) == max(1, round(share * len(values)))
    assert min(inside) >= max(outside, default=0.0)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("XXX", [range(3)]),
        ("X..X..X", [range(7)]),
        ("X...X..X", []),
        ("XX.......XX.X", [range(9, 13)]),
        ("XXX...XXX", [range(3), range(6, 9)]),
        ("XX", []),
        ("", []),
    ],
)
def test_a_dense_run_has_three_uncertain_tokens_and_gaps_of_two_at_most(text, runs):
    assert dense_runs(flags(text)) == runs


def test_uncertain_words_are_forking_unless_they_react_to_a_response():
    regions = [T, T, T, T, F, C, C, A]
    uncertain = flags("XX.X.XXX")
    assert kinds(regions, uncertain, answers_response=False) == (
        Kind.FORKING, Kind.FORKING, None, Kind.FORKING, None, Kind.CODE, Kind.CODE, Kind.ANSWER,
    )  # fmt: skip
    assert kinds(regions, uncertain, answers_response=True) == (
        Kind.REFLECTION, Kind.REFLECTION, None, Kind.REFLECTION, None, Kind.CODE, Kind.CODE, Kind.ANSWER,
    )  # fmt: skip


def test_a_run_that_begins_late_is_no_reaction():
    late = flags("........XXX")
    assert set(kinds([T] * 11, late, answers_response=True)) == {None, Kind.FORKING}
    assert Kind.REFLECTION in kinds([T] * 11, flags(".......XXX."), answers_response=True)


def test_a_rollout_labelled_by_hand(words, record, call):
    """Words fork before a call and reflect after an error; digits are in doubt in programs and the answer."""
    first = "But wait</reason>" + call("print(2*3)")
    second = "Let me check it again then</reason>" + call("print(6)")
    rollout = RecordedRollout.of(
        record(
            first,
            second,
            "</reason><answer>6</answer>",
            calls=["print(2*3)", "print(6)", None],
            statuses=["exception", "ok"],
            responses=["tool call failed", "6"],
        ),
        words,
    )
    uncertain = {"But": 2.0, "Let": 3.0, " check": 2.5, " it": 2.2, "3": 1.5, "6": 1.9}
    texts = [words.decode([token_id]) for token_id in rollout.token_ids]
    entropies = [uncertain.get(text, 0.01) for text in texts]
    found = scored(rollout, entropies[1:], words, uncertain_share=7 / rollout.num_model_tokens)
    labelled = {
        (number, piece): kind
        for number, turn in enumerate(found.turns)
        for piece, kind in zip(turn.pieces, turn.kinds, strict=True)
        if kind is not None
    }
    assert labelled == {
        (0, "But"): Kind.FORKING,
        (0, "3"): Kind.CODE,
        (1, "Let"): Kind.REFLECTION,
        (1, " check"): Kind.REFLECTION,
        (1, " it"): Kind.REFLECTION,
        (1, "6"): Kind.CODE,
        (2, "6"): Kind.ANSWER,
    }
    assert [turn.after for turn in found.turns] == [None, ToolStatus.EXCEPTION, ToolStatus.OK]
    assert found.turns[1].entropies_nats[:3] == (3.0, 0.01, 2.5)
