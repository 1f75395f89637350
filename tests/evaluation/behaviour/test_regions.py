from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.evaluation.behaviour.regions import Region, regions, token_texts
from rstar2.protocol.template import call_text, chatml_template
from rstar2.protocol.tokenizer import HuggingFaceTokenizer, train_tokenizer

END = "<|im_end|>"


def by_region(turn: str, pieces: Sequence[str] | None = None) -> dict[str, str]:
    """The text of each region, given one token per character or the given ones."""
    pieces = list(turn) if pieces is None else pieces
    found = regions(pieces, end_of_turn=END)
    return {
        region.value: "".join(piece for piece, r in zip(pieces, found, strict=True) if r is region)
        for region in Region
        if region in found
    }


def test_a_turn_with_a_call_by_hand(call):
    turn = "Let me see. </reason>\n" + call("print(2 * 3)  # six") + END
    assert by_region(turn) == {
        "text": "Let me see. ",
        "code": "print(2 * 3)  # six",
        "format": "</reason>\n" + call("") + END,
    }


def test_a_turn_with_an_answer_by_hand():
    turn = "It is 6.</reason><answer>\\boxed{6}</answer> Done." + END
    assert by_region(turn) == {
        "text": "It is 6. Done.",
        "answer": "\\boxed{6}",
        "format": "</reason><answer></answer>" + END,
    }


def test_a_block_that_was_never_closed_reaches_to_the_end():
    assert by_region('<tool_call>{"name": "python", "arguments": {"code": "print(1') == {
        "code": "print(1",
        "format": '<tool_call>{"name": "python", "arguments": {"code": "',
    }
    assert by_region("<answer>\\boxed{1") == {"answer": "\\boxed{1", "format": "<answer>"}


def test_a_quote_inside_a_program_does_not_end_it(call):
    program = r"print(\"a: 1\")\nd = {\"name\": 2}"
    assert by_region(call(program))["code"] == program


def test_a_call_that_is_no_json_has_the_strings_that_it_has():
    assert by_region('<tool_call>run "x = 1" now</tool_call>')["code"] == "x = 1"


def test_the_input_of_a_program_is_code_and_the_name_of_a_tool_is_not():
    turn = '<tool_call>{"name": "python", "arguments": {"code": "f", "input": "7"}}</tool_call>'
    assert by_region(turn)["code"] == "f7"
    turn = '<tool_call>{"arguments": {"code": "f", "name": "7"}, "name": "python"}</tool_call>'
    assert by_region(turn)["code"] == "f7"


def test_a_token_across_a_border_belongs_where_most_of_it_is():
    pieces = ["Yes", ".</", "reason>", END]
    assert regions(pieces, end_of_turn=END) == (Region.TEXT, *[Region.FORMAT] * 3)
    assert regions(["sure.<", "/reason>"], end_of_turn=END) == (Region.TEXT, Region.FORMAT)


@given(st.text(alphabet='ab"\\{}:<>/ \n', max_size=30), st.sampled_from(["", "<tool_call>", "<answer>"]))
def test_every_token_is_in_one_region_whatever_was_written(text: str, tag: str) -> None:
    pieces = [*tag, *text, END]
    assert len(regions(pieces, end_of_turn=END)) == len(pieces)


@pytest.fixture(scope="module")
def tokenizer() -> HuggingFaceTokenizer:
    return train_tokenizer(["print(6 * 7)"], vocab_size=300, chat_template=chatml_template())


def test_texts_of_tokens_add_up_to_the_text_where_characters_take_several(tokenizer):
    text = "caf\u00e9 \U0001f600</reason>" + call_text("print('\u00e9')") + END
    texts = token_texts(tokenizer, tokenizer.encode(text))
    assert "".join(texts) == text
    assert texts[3:5] == ["", "\u00e9"]


def test_half_a_character_at_the_end_is_not_waited_for(tokenizer):
    half = tokenizer.encode("a\u00e9")[:-1]
    assert token_texts(tokenizer, half) == ["a", ""]
    broken = [half[1]] * 9
    assert len(token_texts(tokenizer, broken)) == 9
