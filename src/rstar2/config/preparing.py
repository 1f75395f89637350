"""How training data is made from published sources: a file of its own, read by `rstar2 data prepare`."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from rstar2.config.section import Section


class SourceSection(Section):
    """One published data set."""

    hub: str = ""
    """`OWNER/NAME[:SPLIT[:CONFIG]]`."""
    path: str = ""
    """JSONL, parquet or, where no column is nested, CSV with the same columns, read in place of the hub's."""
    columns: tuple[str, ...] = ()
    """Of parquet: the only ones that are read, of the hub's without a copy on disk; all are by default."""
    only: Mapping[str, str] = {}
    """Rows whose columns hold other texts than these are passed over."""
    skip: bool = False
    licence: str
    """Its publisher's; for the manifest."""
    num_rows: int = Field(0, ge=0)
    """About how many there are, for the progress bar; 0 if that is not known."""
    paper: int = Field(0, ge=0)
    """How many of it the paper has, for the table; 0 if it does not say."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not (self.hub or self.path or self.skip):
            raise ValueError("this source has no hub id: give the path of a file, or skip = true")
        return self


class ConversationSource(SourceSection):
    """Of SFT."""

    format: Literal["toolace", "sharegpt", "glaive", "magicoder", "messages", "nemotron"]
    """How its rows read: see `preparation/formats/`."""
    take: int = Field(0, ge=0)
    """So many, drawn at random, of what the filters leave; 0 takes all."""
    rewrite: Literal["nothing", "responses", "prompts"] = "nothing"
    """What `[rewriting]` has another model write anew."""


class ProblemSource(SourceSection):
    """Of RL."""

    question: str = "question"
    """Where a row keeps it; dots go deeper."""
    answer: str = "answer"
    check_labels: bool = False
    """Whether `[label_check]` is to confirm its answers."""


class ServedModelSection(Section):
    """A model that somebody serves behind OpenAI's HTTP API."""

    url: str = ""
    """Up to and with `/v1`; empty: this part is off."""
    model: str = ""
    """Its name there."""
    token_file: str = ""
    """Holds the bearer token; empty if none is asked for."""
    num_requests: int = Field(256, ge=1)
    """At the same time."""
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(16_384, ge=1)
    """Of one reply."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name the server takes `max_tokens`; OpenAI's reasoning models know the second alone."""
    reply_limit_s: float = Field(3600.0, gt=0)
    """From a request to the end of its reply."""
    patience_s: float = Field(600.0, ge=0)
    """How long a request is tried again while the server fails."""

    @model_validator(mode="after")
    def _url_is_an_address(self) -> Self:
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must be written as http://HOST:PORT/v1, not '{self.url}'")
        if self.url and not self.model:
            raise ValueError("model is missing: give the name under which the model is served")
        return self


class LabelCheckSection(ServedModelSection):
    """Keeps a problem if enough answers of another model agree with its label (paper 4.2)."""

    answers: int = Field(16, ge=1)
    """Per problem (paper: 16)."""
    min_agreeing: int = Field(2, ge=1)
    """(paper: 2)"""
    answers_per_request: int = Field(4, ge=1)
    """No more are asked for once the outcome is certain, which small requests see sooner."""
    prompt: str = "{question}\n\nPut the final answer, an integer, inside \\boxed{}."

    @model_validator(mode="after")
    def _can_agree(self) -> Self:
        if self.min_agreeing > self.answers:
            raise ValueError(f"min_agreeing ({self.min_agreeing}) must not exceed answers ({self.answers})")
        if "{question}" not in self.prompt:
            raise ValueError("prompt must contain {question}")
        return self


class RewritingSection(ServedModelSection):
    """Has another model write responses or prompts anew (paper 4.1: o4-mini)."""

    prompt: str = (
        "Rewrite the following request to an assistant in other words. Keep what it asks for, all of its "
        "conditions and its language. Reply with the rewritten request and nothing else.\n\n{prompt}"
    )
    """For prompts; responses are asked for as they are."""


class BenchmarksSection(Section):
    """What must not be trained on, and what the trained model is measured on."""

    names: tuple[str, ...] = ("aime24", "aime25", "hmmt25", "math500", "gpqa-diamond")
    """Entries of `evaluation/benchmarks.toml` (paper 5.1)."""
    files: Mapping[str, tuple[str, ...]] = {}
    """By name: files with the same columns, read in place of the hub's."""

    @model_validator(mode="after")
    def _files_have_names(self) -> Self:
        if strange := sorted(set(self.files) - set(self.names)):
            raise ValueError(f"files are given for {strange[0]!r}, which is not among names")
        return self


class PreparationConfig(Section):
    """A whole preparation."""

    paper_conversations: int = Field(0, ge=0)
    """How many the paper has in all, for the table; 0 if nothing is to be compared."""
    paper_problems: int = Field(0, ge=0)
    """The same."""
    seed: int = 0
    """Of what is drawn and of the order of the conversations."""
    max_answer_digits: int = Field(20, ge=1)
    """Problems with longer answers are dropped (paper 4.2: huge ones)."""
    max_question_chars: int = Field(6000, ge=1)
    """Problems with longer questions are dropped (release: prompts of more than 2048 tokens)."""
    benchmarks: BenchmarksSection = BenchmarksSection()
    conversations: Mapping[str, ConversationSource] = {}
    problems: Mapping[str, ProblemSource] = {}
    label_check: LabelCheckSection = LabelCheckSection()
    rewriting: RewritingSection = RewritingSection()
