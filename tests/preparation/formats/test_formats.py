"""Each source's rows, in its publisher's own schema, become the conversations that they hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.errors import DataError
from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue, Unusable
from rstar2.preparation.formats import FORMATS
from rstar2.preparation.formats.toolace import calls_of


def read(kind: str, row: dict[str, Any]) -> Dialogue:
    return FORMATS[kind](Columns("x.jsonl, line 1", row))


def roles(spoken: Dialogue) -> list[str]:
    return [message["role"] for message in spoken.messages]


def calls(spoken: Dialogue) -> list[tuple[str, Any]]:
    functions = [call["function"] for m in spoken.messages for call in m.get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def names(spoken: Dialogue) -> list[str]:
    return [tool["function"]["name"] for tool in spoken.tools]


def test_toolace_writes_calls_as_python_with_names_that_are_none(published):
    spoken = read("toolace", published["toolace"])
    assert roles(spoken) == ["user", "assistant", "tool", "assistant"]
    assert calls(spoken) == [
        ("Market Trends API", {"country": "us", "note": 'a) "b', "deep": {"on": True}}),
        ("add_numbers", {"x": -1.5}),
    ]
    assert spoken.tools[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"x": {"type": "number"}},
        "required": ["x"],
    }


@pytest.mark.parametrize(
    "text",
    ["[f(1)]", "[f(x=y)]", "[f(x=1]", "[f x=1)]", "[(x=1)]", "[f(x=1)) g()]", "[f(x=b'1')]", "[f(x=1e999)]",
     "[f(**{'x': 1})]"],
)  # fmt: skip
def test_a_call_that_cannot_be_read_is_unusable(text):
    with pytest.raises(Unusable, match="a call that cannot be read"):
        calls_of(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAME = st.from_regex(r"\A[A-Za-z_][A-Za-z_0-9]*( [A-Za-z]+)?\Z")
ARGUMENTS = st.dictionaries(st.from_regex(r"\A[a-z]_[a-z0-9]*\Z"), JSON, max_size=3)


@given(made=st.lists(st.tuples(NAME, ARGUMENTS), min_size=1, max_size=3))
def test_what_is_written_as_toolace_writes_it_is_read_back(made):
    written = ", ".join(
        f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        for name, arguments in made
    )
    assert calls_of(f"[{written}]") == made


def test_apigen_keeps_its_system_text_and_ends_with_the_assistant(published):
    spoken = read("sharegpt", published["apigen-mt"])
    assert roles(spoken) == ["system", "user", "assistant", "tool", "assistant"]
    assert calls(spoken) == [("find_order", {"id": "7"})]
    assert names(spoken) == ["find_order"]


def test_glaive_quotes_its_arguments_as_no_json_does(published):
    spoken = read("glaive", published["glaive"])
    assert roles(spoken) == ["user", "assistant", "tool", "assistant"]
    assert calls(spoken) == [("get_rate", {"from": "EUR", "note": "it's"})]
    assert [message["content"] for message in spoken.messages[1:]] == [
        "I look it up.",
        '{"rate": 1.1}',
        "It is 1.1.",
    ]
    assert names(spoken) == ["get_rate", "get_news"]


def test_glaive_without_functions_is_plain_chat():
    spoken = read("glaive", {"system": "SYSTEM: You are helpful, with no access to external functions.\n",
                             "chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>\n"})  # fmt: skip
    assert (roles(spoken), spoken.tools) == (["user", "assistant"], ())


@pytest.mark.parametrize(("name", "code"), [("magicoder-oss", "print(7)"), ("magicoder-evol", "print(8)")])
def test_magicoders_code_becomes_a_call_of_the_python_tool(published, name, code):
    spoken = read("magicoder", published[name])
    assert calls(spoken) == [("execute_python_code_with_standard_io", {"code": code, "input": ""})]
    assert names(spoken) == ["execute_python_code_with_standard_io"]
    assert "```" not in spoken.as_line()


@pytest.mark.parametrize(
    ("solution", "reason"), [("x", "no Python block"), ("```python\nprint(\n```", "does not compile")]
)
def test_code_that_is_no_python_is_unusable(solution, reason):
    with pytest.raises(Unusable, match=reason):
        read("magicoder", {"problem": "p", "solution": solution})


def test_tulus_messages_stay_as_they_are(published):
    assert read("messages", published["tulu3"]).messages == tuple(published["tulu3"]["messages"])


@pytest.mark.parametrize("asked", ["Say hello.", [{"role": "user", "content": "Say hello."}]])
def test_nemotron_loses_its_thoughts(published, asked):
    spoken = read("nemotron", published["nemotron"] | {"input": asked})
    assert [message["content"] for message in spoken.messages] == ["Say hello.", "Hello."]


def test_nemotron_loses_the_thoughts_of_earlier_turns(published):
    earlier = {"role": "assistant", "content": "<think>hm</think>Yes?"}
    row = published["nemotron"] | {
        "input": [*published["nemotron"]["input"], earlier, {"role": "user", "content": "Hi."}]
    }
    assert [message["content"] for message in read("nemotron", row).messages][1] == "Yes?"


def test_thoughts_without_an_end_are_unusable(published):
    with pytest.raises(Unusable, match="thoughts"):
        read("nemotron", published["nemotron"] | {"output": "<think> on and on"})


@pytest.mark.parametrize(
    ("kind", "name", "column", "value"),
    [
        ("toolace", "toolace", "conversations", "text"),
        ("toolace", "toolace", "conversations", [{"role": "user", "content": "q"}]),
        ("toolace", "toolace", "system", None),
        ("sharegpt", "apigen-mt", "tools", ["f"]),
        ("sharegpt", "apigen-mt", "conversations", ["hello"]),
        ("glaive", "glaive", "chat", ["USER: x"]),
        ("magicoder", "magicoder-oss", "solution", None),
        ("messages", "tulu3", "messages", [{"role": "user", "content": None}]),
        ("nemotron", "nemotron", "output", 3),
    ],
)
def test_a_row_of_another_format_is_an_error_that_names_row_and_column(published, kind, name, column, value):
    row = published[name]
    for changed in ({**row, column: value}, {key: row[key] for key in row if key != column}):
        with pytest.raises(DataError, match=r"x\.jsonl, line 1"):
            read(kind, changed)


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("sharegpt", "apigen-mt", {"tools": "[{"}),
        ("sharegpt", "apigen-mt", {"tools": "{}"}),
        ("sharegpt", "apigen-mt", {"tools": '[{"description": "nameless"}]'}),
        ("sharegpt", "apigen-mt", {"tools": '[{"name": "other"}]'}),
        ("sharegpt", "apigen-mt", {"conversations": [{"from": "robot", "value": "x"}]}),
        ("glaive", "glaive", {"chat": "USER: x\n\nASSISTANT: <functioncall> {nothing"}),
        ("glaive", "glaive", {"system": "functions: { x"}),
        ("toolace", "toolace", {"system": 'functions: [{"name": "x", }]'}),
    ],
)
def test_contents_that_cannot_be_learned_from_are_no_error(published, kind, name, changes):
    with pytest.raises(Unusable):
        read(kind, published[name] | changes)
