import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.protocol.answer import extract_answer, last_boxed


@pytest.mark.parametrize(
    ("text", "answer", "num_blocks"),
    [
        (r"<answer>\boxed{42}</answer>", "42", 1),
        (r"<answer>So \(x\) is \boxed{ 42 }.</answer>", "42", 1),
        (r"<answer>\boxed{\frac{1}{2}}</answer>", r"\frac{1}{2}", 1),
        (r"<answer>\boxed{\{1, 2\}}</answer>", r"\{1, 2\}", 1),
        (r"<answer>\boxed{41} or \boxed{42}</answer>", "42", 1),
        (r"<answer>\boxed{41 or 42 or 43}</answer>", "41 or 42 or 43", 1),
        (r"<answer>\boxed{1}</answer> no: <answer>\boxed{2}</answer>", "2", 2),
        (r"<answer>\boxed{1}</answer> no: <answer>\boxed{2}", "1", 1),
        (r"<answer>\boxed{1 <answer>\boxed{2}</answer>", "2", 1),
        (r"<answer>\boxed{1}</answer><answer>I do not know</answer>", None, 2),
        (r"<answer>\boxed{1}</answer><answer></answer>", None, 2),
        ("<answer></answer>", None, 1),
        (r"<answer>\boxed{}</answer>", None, 1),
        (r"<answer>\boxed{7} \boxed{ }</answer>", None, 1),
        (r"<answer>42</answer>", None, 1),
        (r"\boxed{42}", None, 0),
        (r"<answer>\boxed{42}", None, 0),
        (r"</answer>\boxed{42}<answer>", None, 0),
        (r"\boxed{42}<answer>it is above</answer>", None, 1),
        ("", None, 0),
    ],
)
def test_the_answer_is_the_last_box_of_the_last_closed_block(text, answer, num_blocks):
    assert extract_answer(text) == (answer, num_blocks)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{1 + \boxed{2}}", "2"),
        (r"\boxed{41} \boxed{42", "41"),
        (r"{\boxed{3}} {", "3"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\{}", r"\{"),
        (r"\\boxed{3}", None),
        (r"\boxed{3\}", None),
        (r"} \boxed{3}", "3"),
        (r"\boxed", None),
    ],
)
def test_braces_are_balanced(text, inside):
    assert last_boxed(text) == inside


@given(
    before=st.text(alphabet=r"ab{}\ ").filter(lambda text: not text.endswith("\\")),
    inside=st.text(alphabet="0123456789,.-", min_size=1),
)
def test_a_well_formed_last_box_is_always_found(before, inside):
    assert extract_answer(rf"<answer>{before}\boxed{{{inside}}}</answer>") == (inside, 1)


@pytest.mark.parametrize("hostile", [r"\boxed{", "<answer>", r"\boxed{}", "{", r"<answer>\boxed{1}</answer>"])
def test_hostile_text_costs_linear_time(hostile):
    started = time.perf_counter()
    extract_answer("<answer>" + hostile * 20_000 + "</answer>")
    assert time.perf_counter() - started < 1.0
