import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.protocol.response import FAILED, response_text, shorten
from rstar2.types import MalformedCall, ToolResult, ToolStatus

TRACEBACK = 'Traceback (most recent call last):\n  File "<code>", line 1\nNameError: x is not defined\n'


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ToolResult(status=ToolStatus.OK), ""),
        (ToolResult(status=ToolStatus.OK, stdout="24\n"), "24"),
        (ToolResult(status=ToolStatus.OK, value="24"), "24"),
        (ToolResult(status=ToolStatus.OK, stdout="a\n", value="24"), "a\n24"),
        (ToolResult(status=ToolStatus.OK, stdout="1", stderr="a warning"), "1"),
        (ToolResult(status=ToolStatus.OUTPUT_LIMIT, stdout="1...9"), "1...9"),
        (ToolResult(status=ToolStatus.EXCEPTION, stderr=TRACEBACK), f"{FAILED}: {TRACEBACK.strip()}"),
        (ToolResult(status=ToolStatus.EXCEPTION, stdout="a\n", stderr="E: b"), f"{FAILED}: E: b\na"),
        (
            ToolResult(status=ToolStatus.TIME_LIMIT, stdout="a\n"),
            f"{FAILED}: the program ran longer than its time limit\na",
        ),
        (
            ToolResult(status=ToolStatus.MEMORY_LIMIT),
            f"{FAILED}: the program used more memory than its limit",
        ),
    ],
)
def test_each_outcome_has_its_fixed_text(result: ToolResult, text: str) -> None:
    assert response_text(result, max_chars=500) == text


def test_a_malformed_call_is_answered_with_its_reason() -> None:
    call = MalformedCall(status=ToolStatus.MALFORMED, reason="it is not JSON")
    assert response_text(call, max_chars=500) == "tool call failed: it is not JSON"


def test_a_failure_of_the_infrastructure_never_reaches_the_model() -> None:
    with pytest.raises(AssertionError, match="infrastructure"):
        response_text(ToolResult(status=ToolStatus.INFRASTRUCTURE), max_chars=500)


@pytest.mark.parametrize("printed", ["", "x", "x" * 1000])
@pytest.mark.parametrize("num_frames", [0, 50])
def test_the_last_line_of_an_error_is_shown_whatever_else_there_is(printed: str, num_frames: int) -> None:
    stderr = "Traceback:\n" + "  a frame\n" * num_frames + "NameError: boom\n"
    text = response_text(
        ToolResult(status=ToolStatus.EXCEPTION, stdout=printed, stderr=stderr), max_chars=160
    )
    assert text.startswith(FAILED)
    assert "NameError: boom" in text


def test_a_long_text_keeps_its_head_and_its_tail_and_says_how_much_is_missing() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghij", 4) == "ab\n... 6 characters left out ...\nij"
    assert shorten("abcdefghij", 5) == "ab\n... 6 characters left out ...\nij"
    assert shorten("abcdefghij", 1) == "\n... 10 characters left out ...\n"


@given(text=st.text(max_size=80), max_chars=st.integers(1, 60))
def test_what_is_kept_is_of_the_text_and_within_the_limit(text: str, max_chars: int) -> None:
    kept = shorten(text, max_chars)
    head, mark, tail = kept.partition("\n... ")
    if len(text) <= max_chars:
        assert kept == text
    elif "\n... " not in text:
        assert mark
        assert text.startswith(head)
        assert text.endswith(tail.split(" characters left out ...\n", 1)[1])


@given(
    status=st.sampled_from([s for s in ToolStatus if s is not ToolStatus.INFRASTRUCTURE]),
    stdout=st.text(max_size=300),
    stderr=st.text(max_size=300),
    value=st.none() | st.text(max_size=300),
)
def test_no_outcome_takes_much_more_room_than_allowed(
    status: ToolStatus, stdout: str, stderr: str, value: str | None
) -> None:
    result = ToolResult(status=status, stdout=stdout, stderr=stderr, value=value)
    marks = 2 * len("\n... 1000 characters left out ...\n") + 1
    assert len(response_text(result, max_chars=100)) <= 100 + marks
