from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from rstar2.errors import DataError, InputError
from rstar2.protocol.template import TOOL_NAME, chatml_template
from rstar2.protocol.tokenizer import (
    CHAT_TOKENS,
    TAG_TOKENS,
    HuggingFaceTokenizer,
    load_tokenizer,
    speak_chatml,
    train_tokenizer,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SPECIALS = (*CHAT_TOKENS, *TAG_TOKENS)
PIECES = st.lists(st.one_of(TEXT, st.sampled_from(SPECIALS))).map("".join)


@given(text=PIECES)
def test_any_text_survives_the_round_trip(tokenizer: HuggingFaceTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=TEXT)
def test_no_unknown_characters_and_no_ids_beyond_the_vocabulary(
    tokenizer: HuggingFaceTokenizer, text: str
) -> None:
    assert all(0 <= token < len(tokenizer.hf) for token in tokenizer.encode(text))


@pytest.mark.parametrize("special", SPECIALS)
def test_each_special_token_is_one_token_wherever_it_stands(
    tokenizer: HuggingFaceTokenizer, special: str
) -> None:
    (token,) = tokenizer.encode(special)
    assert tokenizer.encode(f"a {special} b").count(token) == 1
    assert tokenizer.encode(f"{special}{special}") == [token, token]


@given(left=PIECES, special=st.sampled_from(SPECIALS), right=PIECES)
def test_ids_do_not_depend_on_what_stands_across_a_special_token(
    tokenizer: HuggingFaceTokenizer, left: str, special: str, right: str
) -> None:
    """What lets a rollout be encoded segment by segment: every segment of ours ends at such a token."""
    parts = tokenizer.encode(left) + tokenizer.encode(special) + tokenizer.encode(right)
    assert tokenizer.encode(left + special + right) == parts


def test_a_turn_ends_with_the_token_that_ends_a_chat_message(tokenizer: HuggingFaceTokenizer) -> None:
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"


def test_the_name_of_the_tool_becomes_one_token(tokenizer: HuggingFaceTokenizer) -> None:
    """Each of its tokens would have to be guessed right by a tiny model."""
    assert len(tokenizer.encode(TOOL_NAME)) == 1


def test_training_depends_on_the_texts_alone() -> None:
    texts = ["to be or not to be", "that is 42 questions"] * 3
    first, second = (train_tokenizer(texts, vocab_size=290, chat_template="") for _ in range(2))
    assert first.hf.get_vocab() == second.hf.get_vocab()
    assert len(first.hf) == 290


def test_a_vocabulary_without_room_for_bytes_and_specials_is_refused() -> None:
    smallest = 256 + len(SPECIALS)
    assert len(train_tokenizer(["x"], vocab_size=smallest, chat_template="").hf) == smallest
    with pytest.raises(DataError, match=str(smallest)):
        train_tokenizer(["x"], vocab_size=smallest - 1, chat_template="")


def test_a_saved_tokenizer_is_the_same_when_it_is_read_again(
    tokenizer: HuggingFaceTokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    text = 'Is  2*3\n == "6" ?<|im_end|>\u00e9\U0001f600 <tool_call>'
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.eos_token_id == tokenizer.eos_token_id
    assert loaded.hf.chat_template == chatml_template()


def test_a_folder_without_a_tokenizer_is_an_input_error_that_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a checkpoint folder"):
        load_tokenizer(str(tmp_path))


def test_a_foreign_tokenizer_that_knows_chatml_is_taught_to_end_its_turns_with_it() -> None:
    foreign = train_tokenizer(["x"], vocab_size=300, chat_template="")
    foreign.hf.eos_token = "<|endoftext|>"
    speak_chatml(foreign, chatml_template())
    assert foreign.decode([foreign.eos_token_id]) == "<|im_end|>"
    assert foreign.hf.chat_template == chatml_template()


def test_a_foreign_tokenizer_without_the_end_of_turn_is_refused_with_the_remedy() -> None:
    foreign = HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), eos_token="</s>")
    )
    with pytest.raises(InputError, match=r'set protocol.template = "checkpoint"'):
        speak_chatml(foreign, chatml_template())
