"""Tokenizers: any Hugging Face one behind the `Tokenizer` port, and the small BPE of the tiny model.

Not here: chat rendering (`template.py`). Invariant: `encode` adds nothing to the text it is given, so
the ids of a text depend on that text alone.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

from rstar2.errors import DataError, InputError

CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAG_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<reason>",
    "</reason>",
    "<answer>",
    "</answer>",
)
# One alternative per kind of piece: an escaped newline inside JSON, words with underscores (so that a
# tool's name becomes one token), single digits as in Qwen's tokenizers, punctuation, white space.
_PIECES = r"\\n| ?[A-Za-z_]+|[0-9]{1,2}| ?[^\sA-Za-z_0-9\\]+|\\|\s"


class HuggingFaceTokenizer:
    """A transformers tokenizer as the `Tokenizer` port."""

    def __init__(self, hf: Any) -> None:
        self.hf = hf
        self._control_tokens = tuple(hf.get_added_vocab())

    @property
    def eos_token_id(self) -> int:
        """Id of the token that ends an assistant turn."""
        return int(self.hf.eos_token_id)

    def encode(self, text: str) -> list[int]:
        return list(self.hf.encode(text, add_special_tokens=False))

    def encode_untrusted(self, text: str) -> list[int]:
        """Ids of a text that may not speak for the template: control tokens in it are ordinary characters."""
        return list(self._without_control.encode(text, add_special_tokens=False, split_special_tokens=True))

    @cached_property
    def _without_control(self) -> Any:
        """A copy that can be told to split every added token, which is possible for special ones alone.

        Qwen3 ships `<tool_response>` and its like as added tokens that are not special.
        """
        copy = deepcopy(self.hf)
        copy.add_tokens(list(self._control_tokens), special_tokens=True)
        return copy

    def has_control_token(self, text: str) -> bool:
        return any(token in text for token in self._control_tokens)

    def decode(self, token_ids: Sequence[int]) -> str:
        return str(self.hf.decode(list(token_ids), clean_up_tokenization_spaces=False))

    def save(self, folder: Path) -> None:
        """Write the ordinary tokenizer files, chat template included."""
        self.hf.save_pretrained(str(folder))


def load_tokenizer(name_or_folder: str) -> HuggingFaceTokenizer:
    """The tokenizer of a local folder or of a Hub id."""
    from transformers import AutoTokenizer

    try:
        return HuggingFaceTokenizer(AutoTokenizer.from_pretrained(name_or_folder))
    except (OSError, ValueError) as error:
        raise InputError(
            f"no tokenizer can be loaded from '{name_or_folder}': give a checkpoint folder that has "
            f"tokenizer files, or a Hub id that this machine can reach ({type(error).__name__})"
        ) from error


def speak_chatml(tokenizer: HuggingFaceTokenizer, chat_template: str) -> None:
    """Make a given tokenizer write our chat format: its template, and `<|im_end|>` as the end of a turn.

    Base models such as Qwen3-14B-Base know the token but end texts with another one.
    """
    end = "<|im_end|>"
    if end not in tokenizer.hf.get_vocab():
        raise InputError(
            f"the tokenizer has no {end} token, so it cannot write our chat format: "
            'set protocol.template = "checkpoint" to use its own'
        )
    tokenizer.hf.chat_template = chat_template
    tokenizer.hf.eos_token = end


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, chat_template: str) -> HuggingFaceTokenizer:
    """A byte-level BPE with ChatML and tool tags as single tokens, trained on `texts`.

    Deterministic in the texts. `vocab_size` counts the 256 bytes and the special tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    reserved = 256 + len(CHAT_TOKENS) + len(TAG_TOKENS)
    if vocab_size < reserved:
        raise DataError(f"a byte-level vocabulary needs at least {reserved} entries, not {vocab_size}")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*CHAT_TOKENS, *TAG_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    hf = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    hf.chat_template = chat_template
    return HuggingFaceTokenizer(hf)
