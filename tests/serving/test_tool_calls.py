import pytest

from rstar2.serving.tool_calls import CallReader

ADD = '<tool_call>{"name": "add", "arguments": {"b": 1, "a": "\u00e9"}}</tool_call>'


def test_calls_are_told_from_the_text_before_them():
    reader = CallReader()
    assert reader.push("so <tool") == "so "
    assert reader.push(ADD[5:]) == ""
    rest, (call,) = reader.end()
    assert (rest, call.name, call.arguments) == ("", "add", '{"b": 1, "a": "\u00e9"}')


def test_text_between_and_after_calls_is_kept():
    reader = CallReader()
    assert reader.push(f"so {ADD} and {ADD}\nThen I wait.\n") == "so "
    rest, calls = reader.end()
    assert rest == "and \nThen I wait."
    assert len(calls) == 2


def test_every_call_has_an_id_of_its_own():
    reader = CallReader()
    reader.push(ADD + ADD)
    _, calls = reader.end()
    assert len({call.id for call in calls}) == 2


def test_arguments_that_are_a_text_already_stay_as_they_are():
    reader = CallReader()
    reader.push('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>')
    assert reader.end()[1][0].arguments == '{"a": 1}'


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "<tool_call>{}</tool_call>",
        "<tool_call>no JSON</tool_call>",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        ADD + "<tool_call>" + "[" * 10_000 + "</tool_call>",
        ADD + '<tool_call>{"name": "g", "argum',
        "a < b <tool",
    ],
)
def test_what_is_no_call_is_text_and_nothing_of_it_is_lost(text):
    reader = CallReader()
    passed = reader.push(text)
    rest, calls = reader.end()
    assert (passed + rest, calls) == (text, ())
