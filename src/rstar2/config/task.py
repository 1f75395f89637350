"""What is to be learned: the problems, and how they are put to the model."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rstar2.config.section import Section


class FieldMap(Section):
    """Where a row keeps its parts; dots go into nested objects."""

    question: str = "question"
    answer: str = "answer"
    id: str | None = None
    """None: the hash of the question."""
    task: str | None = None
    """None: the name of the file."""


GYM_SIZES = {"num_train": 4096, "num_validation": 64, "num_test": 200}
"""How many problems are made where nothing is said: the gym has no end."""


class ProblemsSection(Section):
    source: Literal["gym", "files"] = "gym"
    tasks: Mapping[str, Mapping[str, Any]] = {"gcd": {}, "lcm": {}, "products": {}}
    """reasoning-gym tasks and their settings, for source = "gym"."""
    num_train: int | None = Field(None, ge=1)
    """None is all that the files hold; of fewer, each task keeps its share. The gym's are in `GYM_SIZES`."""
    num_validation: int | None = Field(None, ge=1)
    num_test: int | None = Field(None, ge=1)
    train_files: tuple[str, ...] = ()
    """JSONL or parquet files, or Hub ids as `hf:OWNER/NAME:SPLIT`, for source = "files"."""
    validation_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    fields: FieldMap = FieldMap()
    decontaminate_against: tuple[str, ...] = ()
    """Benchmark files; training problems that share an 8-gram with one are dropped (paper)."""

    @model_validator(mode="before")
    @classmethod
    def _gym_has_sizes(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("source", "gym") != "gym":
            return given
        return {**given, **{key: size for key, size in GYM_SIZES.items() if given.get(key) is None}}

    @model_validator(mode="after")
    def _files_are_named(self) -> Self:
        if self.source == "files" and not (self.train_files and self.test_files):
            raise ValueError('source = "files" needs train_files and test_files')
        return self


class ProtocolSection(Section):
    template: Literal["chatml", "checkpoint"] = "chatml"
    """Our template, or the one that comes with the checkpoint's tokenizer."""
    system: str = ""
    """System prompt; empty leaves the template's own."""
    user: str = "{question}\nPut the answer in <answer> as \\boxed{}."
    tool_response_chars: int = Field(1500, ge=32)
    """Longer tool outputs keep head and tail. The release keeps 256, the paper names no limit."""
