"""Rows in the schema of each source, as its publisher keeps them."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

ADD = {
    "name": "add_numbers",
    "description": "Add.",
    "parameters": {"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]},
}
TOOLACE = {
    "system": "You are an expert in composing functions. Here is a list of functions in JSON format that "
    f"you can invoke:\n{json.dumps([ADD, {'name': 'Market Trends API'}])}. \nShould you decide to ...",
    "conversations": [
        {"from": "user", "value": "What are the trends, and 1.5?"},
        {
            "from": "assistant",
            "value": '[Market Trends API(country="us", note="a) \\"b", deep={"on": true}), '
            "add_numbers(x=-1.5)]",
        },
        {"from": "tool", "value": '[{"name": "add_numbers", "results": 1}]'},
        {"from": "assistant", "value": "Up, and 1."},
    ],
}
APIGEN = {
    "system": "You are a retail agent.",
    "tools": json.dumps([{"name": "find_order", "description": "Find.", "parameters": {"type": "object"}}]),
    "conversations": [
        {"from": "human", "value": "Where is my order?"},
        {"from": "function_call", "value": '{"name": "find_order", "arguments": {"id": "7"}}'},
        {"from": "observation", "value": "shipped"},
        {"from": "gpt", "value": "It was shipped."},
        {"from": "human", "value": "Thanks."},
    ],
}
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. "
    "Use them if required -\n"
    + json.dumps({"name": "get_rate", "description": "Rate.", "parameters": {"type": "object"}}, indent=1)
    + "\n\n"
    + json.dumps({"name": "get_news", "description": "News."}),
    "chat": "USER: How much is a euro?\n\n\nASSISTANT: I look it up. <functioncall> "
    """{"name": "get_rate", "arguments": '{"from": "EUR", "note": "it\\'s"}'} <|endoftext|>\n\n\n"""
    'FUNCTION RESPONSE: {"rate": 1.1}\n\n\nASSISTANT: It is 1.1. <|endoftext|>\n\n\n',
}
MAGICODER = {
    "lang": "python",
    "problem": "Print seven.",
    "solution": "Like this:\n```python\nprint(7)\n```\nIt prints 7.",
}
TULU = {
    "id": "t1",
    "prompt": "Name a fruit.",
    "messages": [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Apple."}],
    "constraints": ["length"],
}
NEMOTRON = {
    "input": [{"role": "user", "content": "Say hello."}],
    "output": "<think>\nhm\n</think>\n\nHello.",
    "category": "chat",
    "reasoning": "on",
    "system_prompt": "detailed thinking on",
}
DAPO = {
    "prompt": "What is 3 times 4?",
    "solution": "12",
    "data_source": "math_dapo",
    "reward_model": {"ground_truth": "12", "style": "rule"},
    "extra_info": {"index": "i"},
}
OMR = {
    "problem": "How many sides has a square?",
    "expected_answer": "4",
    "problem_type": "has_answer_extracted",
    "problem_source": "aops_c4_high_school_math",
    "generated_solution": "...",
}
EULER = {"problem": "Sum the multiples of 3 or 5 below 1000.", "answer": 233168}


PUBLISHED = {
    "toolace": TOOLACE,
    "apigen-mt": APIGEN,
    "glaive": GLAIVE,
    "magicoder-oss": MAGICODER,
    "magicoder-evol": {"instruction": "Print eight.", "response": "```python\nprint(8)\n```"},
    "tulu3": TULU,
    "nemotron": NEMOTRON,
    "dapo": DAPO,
    "aops": OMR,
    "project-euler": EULER,
}
"""One row of each, by the names in configs/data.toml."""


@pytest.fixture
def published() -> dict[str, Any]:
    """May be changed at will."""
    return deepcopy(PUBLISHED)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Rows as a JSONL file of this name; gives its path, for a config."""

    def _write(name: str, *rows: Any) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return _write
