"""SFT's conversations: read from files, and drawn pass after pass."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.errors import DataError
from rstar2.training.conversations import Conversation, drawn, read_conversations


def write(folder: Path, *lines: str) -> Path:
    path = folder / "sft.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "\u00e9"}]


def test_conversations_are_read_line_by_line(tmp_path: Path) -> None:
    line = json.dumps({"messages": MESSAGES, "source": "somewhere"}, ensure_ascii=False)
    expected = Conversation(tuple(MESSAGES))
    assert read_conversations(write(tmp_path, line, "", line)) == [expected, expected]


def test_a_conversation_may_bring_its_own_tools(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    path = write(tmp_path, *(json.dumps({"messages": MESSAGES, "tools": tools}) for tools in ([tool], [])))
    assert [c.tools for c in read_conversations(path)] == [(tool,), ()]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        '{"prompt": "q"}',
        '{"messages": 7}',
        '{"messages": [{"role": "assistant", "content": "a"}], "tools": "add"}',
        '{"messages": [{"role": "assistant", "content": "a"}], "tools": ["add"]}',
        '{"messages": ["q"]}',
        '{"messages": [{"content": "q"}]}',
        '{"messages": [{"role": "user", "content": "q"}]}',
        '{"messages": [{"role": "robot", "content": "q"}, {"role": "assistant", "content": "a"}]}',
    ],
)
def test_a_line_that_is_no_conversation_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, json.dumps({"messages": MESSAGES}), line)
    with pytest.raises(DataError, match=r"sft\.jsonl:2: "):
        read_conversations(path)


CALL = {"name": "add", "arguments": '{"a": 1}'}


def told(*middle: Mapping[str, object]) -> str:
    """A line with these messages between a question and an answer."""
    return json.dumps({"messages": [MESSAGES[0], *middle, MESSAGES[1]]})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (json.dumps({"messages": MESSAGES[::-1]}), "it begins with assistant: put the system or user"),
        (told({"role": "user"}), "message 2, user: content is None, no text; write a text or delete"),
        (told({"role": "tool", "content": None}), "message 2, tool: content is None, no text"),
        (
            told({"role": "user", "content": {"text": "q"}}),
            "message 2, user: content is {'text': 'q'}, no text",
        ),
        (told({"role": "assistant", "reasoning_content": 7}), "message 2, assistant: reasoning_content is 7"),
        (
            told({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
            "part .* is no text; leave",
        ),
        (told({"role": "user", "content": ["q"]}), "message 2: the part 'q' is no text"),
        (
            told({"role": "assistant", "tool_calls": [{"id": "x"}]}),
            "message 2, assistant: tool_calls must be",
        ),
        (
            told({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}),
            "tool_calls must be a list",
        ),
        (told({"role": "assistant", "tool_calls": {"function": CALL}}), "tool_calls must be a list"),
        (told({"role": "assistant", "content": None}), "message 2, assistant: it says nothing"),
        (told({"role": "assistant", "content": "", "tool_calls": []}), "message 2, assistant: it says"),
        (told({"role": ["user"], "content": "q"}), "roles must be"),
        (told({"role": "user", "content": "\ud835"}), "surrogates not allowed"),
    ],
)
def test_what_no_template_can_render_is_refused_when_it_is_read(
    tmp_path: Path, line: str, complaint: str
) -> None:
    with pytest.raises(DataError, match=rf"sft\.jsonl:1: .*{complaint}"):
        read_conversations(write(tmp_path, line))


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, told())
    path.write_bytes(path.read_bytes() + b'{"messages": "\xff"}')
    with pytest.raises(DataError, match=r"sft\.jsonl:2: .*can't decode"):
        read_conversations(path)


def test_text_parts_are_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "on"}, {"type": "text", "text": "e"}]
    (read,) = read_conversations(write(tmp_path, told({"role": "user", "content": parts})))
    assert read.messages[1] == {"role": "user", "content": "one"}


@pytest.mark.parametrize("call", [{"id": "x", "type": "function", "function": CALL}, CALL])
def test_calls_are_read_in_both_spellings_and_need_no_content(
    tmp_path: Path, call: dict[str, object]
) -> None:
    silent = {"role": "assistant", "content": None, "reasoning_content": None, "tool_calls": [call]}
    (read,) = read_conversations(write(tmp_path, told(silent, {"role": "tool", "content": "2"})))
    assert read.messages[1] == silent


def test_a_missing_and_an_empty_file_are_errors_of_the_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no SFT file.*check sft\.files"):
        read_conversations(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="has no conversations"):
        read_conversations(write(tmp_path, ""))


@given(num=st.integers(1, 9), count=st.integers(1, 20), num_steps=st.integers(1, 6), seed=st.integers(0, 99))
def test_none_comes_again_before_all_have_come(num: int, count: int, num_steps: int, seed: int) -> None:
    places = [i for step in range(num_steps) for i in drawn(num, step=step, count=count, seed=seed)]
    times = Counter(places)
    assert len(places) == num_steps * count
    assert max(times.values()) - min(times[i] for i in range(num)) <= 1


def test_every_pass_has_an_order_of_its_own() -> None:
    first, second = (drawn(50, step=step, count=50, seed=0) for step in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != drawn(50, step=0, count=50, seed=1)
