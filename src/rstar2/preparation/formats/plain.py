"""Formats whose rows are a question and its answer, or plain messages.

messages   messages: [{"role": "user" | "assistant" | "system", "content": text}]      (Tulu 3)
nemotron   input: text, or messages as above; output: text, perhaps after <think> ... </think>
magicoder  problem and solution, or instruction and response: texts, the second with a Python block
"""

import re

from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue, Message, Unusable, called, dialogue, said, without_thoughts
from rstar2.preparation.formats.python_text import parsed
from rstar2.protocol.template import PYTHON_TOOL

_ROLES = ("system", "user", "assistant")
_PYTHON_BLOCK = re.compile(r"```python\s*\n(.*?)```", re.DOTALL)


def messages(row: Columns) -> Dialogue:
    """One row of Tulu 3."""
    return dialogue(_messages(row, "messages"))


def nemotron(row: Columns) -> Dialogue:
    """One row of Llama-Nemotron's SFT data, without the thoughts, those of earlier turns included."""
    asked = [said("user", row.text("input"))] if row.has_text("input") else _messages(row, "input")
    spoken = [*asked, said("assistant", row.text("output"))]
    return dialogue([_without_thoughts(message) for message in spoken])


def magicoder(row: Columns) -> Dialogue:
    """One row of Magicoder, its first Python block as a call of the tool that runs it."""
    question, answer = ("problem", "solution") if "problem" in row.values else ("instruction", "response")
    asked, block = row.text(question), _PYTHON_BLOCK.search(row.text(answer))
    if block is None:
        raise Unusable("no Python block")
    code = block[1].strip()
    parsed(code, "exec", otherwise="Python that does not compile")
    call = called((PYTHON_TOOL.name, {"code": code, "input": ""}))
    return dialogue([said("user", asked), call], [PYTHON_TOOL.shown])


def _without_thoughts(message: Message) -> Message:
    if message["role"] != "assistant":
        return message
    return said("assistant", without_thoughts(message["content"]))


def _messages(row: Columns, column: str) -> list[Message]:
    spoken = [(entry.text("role"), entry.text("content")) for entry in row.entries(column)]
    if not {role for role, _ in spoken} <= set(_ROLES):
        raise Unusable("a speaker of no known role")
    return [said(role, content) for role, content in spoken]
