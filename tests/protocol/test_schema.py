from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.errors import InputError
from rstar2.protocol.parse import CLOSE, OPEN, parse_turn
from rstar2.protocol.schema import ToolSchema
from rstar2.protocol.template import PYTHON_TOOL
from rstar2.types import MalformedCall, ToolCall, ToolStatus


def schema_of(**parameters: Any) -> ToolSchema:
    return ToolSchema(name="t", description="", parameters={"type": "object", **parameters})


TWO_KINDS = schema_of(
    properties={
        "path": {"type": "string"},
        "glob": {"type": "string"},
        "limit": {"type": "integer", "maximum": 9},
        "mode": {"enum": ["a", "b"], "type": "string"},
    },
    required=["path"],
    additionalProperties=False,
)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], '"arguments" must be an object with "path", "glob", "limit" and "mode"'),
        ({}, '"path", "glob" and "mode" must be strings; "limit" must be an integer'),
        ({"path": 1}, '"path", "glob" and "mode" must be strings; "limit" must be an integer'),
        ({"path": "", "deep": 1}, "unknown argument 'deep'; the arguments are path, glob, limit and mode"),
        ({"path": "", "limit": 10}, '"limit" must satisfy maximum: 9'),
        ({"path": "", "mode": "c"}, '"mode" must satisfy enum: ["a", "b"]'),
        ({"path": "", "limit": 9, "mode": "b"}, None),
    ],
)
def test_wrong_arguments_are_told_in_the_schemas_words(arguments: object, complaint: str | None) -> None:
    assert TWO_KINDS.complaint(arguments) == complaint


def test_a_schema_without_simple_types_still_says_what_is_missing() -> None:
    schema = schema_of(properties={"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, required=["x"])
    assert schema.complaint({}) == '"arguments" must satisfy required: ["x"]'
    assert schema.complaint({"x": 1}) == '"x" must satisfy anyOf: [{"type": "string"}, {"type": "null"}]'
    assert schema.complaint({"x": None}) is None


def test_a_tool_without_arguments_takes_none() -> None:
    schema = schema_of(properties={}, additionalProperties=False)
    assert schema.complaint({}) is None
    assert schema.complaint([]) == '"arguments" must be an object'
    assert schema.complaint({"x": 1}) == "unknown argument 'x'; there are no arguments"


def test_unknown_arguments_are_the_servers_business_where_the_schema_allows_them() -> None:
    assert schema_of(properties={"x": {"type": "string"}}).complaint({"y": 1}) is None


def test_half_a_surrogate_pair_is_found_wherever_it_stands() -> None:
    schema = schema_of(properties={"x": {}})
    for arguments in ({"x": "\ud800"}, {"x": [{"k": "\udfff"}]}, {"\ud800": 1}, {"x": {"\ud83d": 1}}):
        assert schema.complaint(arguments) == '"x" must not hold half of a surrogate pair'
    assert schema.complaint({"x": "\U0001f600"}) is None


def test_a_complaint_about_a_strangers_argument_can_always_be_written() -> None:
    schema = schema_of(additionalProperties={"type": "string"})
    assert schema.complaint({"\ud800": 5}) == "the arguments must not hold half of a surrogate pair"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=200), inner, max_size=3),
    max_leaves=9,
)


@given(arguments=JSON)
def test_complaints_stay_short_whatever_the_model_wrote(arguments: object) -> None:
    complaint = TWO_KINDS.complaint(arguments)
    assert complaint is None or len(complaint) < 250


def test_references_inside_the_schema_are_followed() -> None:
    defs = {"point": {"type": "object", "required": ["x"]}}
    schema = schema_of(properties={"at": {"$ref": "#/$defs/point"}}, **{"$defs": defs})
    assert schema.complaint({"at": {"x": 1}}) is None
    assert schema.complaint({"at": {}}) == '"at" must satisfy required: ["x"]'


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "array"},
        {"type": "nonsense"},
        {"properties": {"x": {"type": "string", "pattern": "("}}},
        {"properties": {"x": {"minimum": "one"}}},
        {"properties": {"x": {"$ref": "#/$defs/nowhere"}}},
        {"properties": {"x": {"$ref": "http://127.0.0.1:9/schema.json"}}},
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_before_the_first_call(parameters: Any) -> None:
    with pytest.raises(InputError, match="schema of the tool 't' cannot be used"):
        schema_of(**parameters)


def test_the_model_reads_one_schema_and_is_held_to_the_laxer_other() -> None:
    assert PYTHON_TOOL.shown["function"]["parameters"]["required"] == ["code", "input"]
    assert PYTHON_TOOL.complaint({"code": "1"}) is None


# -- in a turn -------------------------------------------------------------------------------------


def read(call: str, *tools: ToolSchema) -> ToolCall | MalformedCall | None:
    return parse_turn(f"{OPEN}{call}{CLOSE}", tools)


def test_an_unknown_tool_is_answered_with_those_that_are_there() -> None:
    call = read('{"name": "x", "arguments": {}}', PYTHON_TOOL, TWO_KINDS)
    assert call == MalformedCall(
        status=ToolStatus.UNKNOWN_TOOL, reason=f"there is no tool named 'x'; use {PYTHON_TOOL.name} or t"
    )
    assert read('{"name": "x", "arguments": {}}') == MalformedCall(
        status=ToolStatus.UNKNOWN_TOOL, reason="there is no tool named 'x'"
    )


def test_equal_arguments_are_equal_calls_in_whatever_order_they_are_written() -> None:
    one = read('{"name": "t", "arguments": {"path": "a", "limit": 1}}', TWO_KINDS)
    other = read('{"arguments": {"limit": 1, "path": "a"}, "name": "t"}', TWO_KINDS)
    assert one == other == ToolCall.of("t", {"path": "a", "limit": 1})
    assert hash(one) == hash(other)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_bad_arguments(number: str) -> None:
    call = read(f'{{"name": "t", "arguments": {{"x": {number}}}}}', schema_of())
    assert call == MalformedCall(
        status=ToolStatus.BAD_ARGUMENTS, reason="the numbers in the arguments must be finite"
    )


@pytest.mark.parametrize("depth", [300, 500, 900, 10_000])
def test_no_depth_of_arguments_makes_the_parser_raise(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    call = read(f'{{"name": "t", "arguments": {{"x": {deep}}}}}', schema_of())
    if not isinstance(call, ToolCall):
        assert call is not None
        assert "nested too deeply" in call.reason or "not valid JSON" in call.reason


def test_a_person_sees_the_program_of_a_call_or_else_its_arguments() -> None:
    assert ToolCall.of("python", {"code": "print(1)", "input": ""}).readable == "print(1)"
    assert ToolCall.of("python", {"code": "f()", "input": "3"}).readable == "f()\n\nstdin:\n3"
    assert ToolCall.of("t", {"limit": 1, "a": "\u00e9"}).readable == 't {"a": "\u00e9", "limit": 1}'
