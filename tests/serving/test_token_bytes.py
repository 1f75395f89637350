"""Bytes of tokens, of vocabularies that write them in their two usual ways."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from rstar2.protocol.tokenizer import HuggingFaceTokenizer
from rstar2.serving.token_bytes import token_bytes


def bytes_of(tokenizer: HuggingFaceTokenizer, token_ids: list[int]) -> list[bytes | None]:
    pieces = tokenizer.hf.convert_ids_to_tokens(token_ids)
    return [
        token_bytes(piece, tokenizer.decode([token_id]))
        for piece, token_id in zip(pieces, token_ids, strict=True)
    ]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example(text="5 \u20ac, \U0001f600, \ufffd\x00\x7f\xad <0xE2>\n<|im_end|><tool_call>")
def test_tokens_of_a_byte_level_vocabulary_are_the_bytes_of_their_text(tokenizer, text):
    found = bytes_of(tokenizer, tokenizer.encode(text))
    assert None not in found
    assert b"".join(found) == text.encode()


def test_every_byte_has_a_token(tokenizer):
    found = bytes_of(tokenizer, list(range(len(tokenizer.hf))))
    assert {piece for piece in found if len(piece) == 1} == {bytes([byte]) for byte in range(256)}


@pytest.fixture
def sentencepiece() -> HuggingFaceTokenizer:
    """What a vocabulary with a mark for the space and a fallback to bytes decodes to."""
    pieces = ["<unk>", "\u2581Hi", "Hi", "\xe9", "<0xE2>", "<0x82>", "<0xAC>", "<0x0A>"]
    bpe = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(pieces)}, merges=[]))
    bpe.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>"))


def test_a_fallback_is_its_byte_and_a_space_that_may_be_dropped_is_unknown(sentencepiece):
    found = bytes_of(sentencepiece, list(range(8)))
    assert found == [b"<unk>", None, b"Hi", "\xe9".encode(), b"\xe2", b"\x82", b"\xac", b"\n"]
