"""What clients may ask: the bodies of OpenAI's two text endpoints.

What would change the answer and cannot be honoured is refused here, field by field. Fields that are not
named are ignored: clients send ever new ones that change nothing. A null is a field that was left out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CHOICES = 128
_MAX_STOPS = 16


class Body(BaseModel):
    """An object in a request."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


class StreamOptions(Body):
    include_usage: bool = False


class ResponseFormat(Body):
    type: Literal["text"]


StopText = Annotated[str, Field(min_length=1)]


class Unsupported(Body):
    """What other servers take and this one cannot do: accepted only where it asks for nothing."""

    frequency_penalty: float = Field(0.0, ge=0, le=0)
    presence_penalty: float = Field(0.0, ge=0, le=0)
    repetition_penalty: float = Field(1.0, ge=1, le=1)
    logit_bias: dict[str, float] = Field({}, max_length=0)
    top_k: int = Field(-1, ge=-1, le=0)
    min_p: float = Field(0.0, ge=0, le=0)
    min_tokens: int = Field(0, ge=0, le=0)
    ignore_eos: Literal[False] = False
    bad_words: list[str] = Field([], max_length=0)
    allowed_token_ids: None = None
    guided_json: None = None
    guided_regex: None = None
    guided_choice: None = None
    guided_grammar: None = None
    structured_outputs: None = None


class TextRequest(Unsupported):
    """What both endpoints take."""

    model: str
    max_tokens: int | None = Field(None, ge=1)
    """None for as many as the server allows and as still fit."""
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: StopText | Annotated[list[StopText], Field(max_length=_MAX_STOPS)] = []
    stop_token_ids: list[int] = []
    """The one that ends every turn, or none."""
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class CompletionRequest(TextRequest):
    """`POST /v1/completions`: text or tokens to go on from."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(None, ge=0)
    """As ever; 0 with `echo` only, for a prompt that is read back and not gone on from."""
    logprobs: int | None = Field(None, ge=0, le=1)
    """Of the tokens of the text; 1 is for `echo` alone, which tells the likeliest in every place anyway."""
    return_token_ids: bool = False
    """As vLLM calls it: the text's tokens as ids too, without the one that ends the turn."""
    echo: bool = False
    suffix: Literal[""] = ""
    best_of: int = Field(1, ge=1, le=1)

    @model_validator(mode="after")
    def _echo_fits(self) -> Self:
        if self.echo and self.stops:
            raise ValueError("echo goes without stop")
        if not self.echo and self.max_tokens == 0:
            raise ValueError("max_tokens is at least 1, or 0 with echo")
        if not self.echo and self.logprobs:
            raise ValueError("logprobs is 0 at most, or 1 with echo: only those of sampled tokens are known")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(part, int) for part in self.prompt):
            return [[part for part in self.prompt if isinstance(part, int)]]
        return [part for part in self.prompt if not isinstance(part, int)]


class TextPart(Body):
    type: Literal["text"]
    text: str


class CalledFunction(Body):
    name: str
    arguments: str


class MessageCall(Body):
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] = ""
    reasoning_content: str = ""
    tool_calls: list[MessageCall] = []

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class OfferedFunction(Body):
    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}


class OfferedTool(Body):
    type: Literal["function"]
    function: OfferedFunction


class ChatRequest(TextRequest):
    """`POST /v1/chat/completions`: a conversation that the model goes on with."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """The newer name of `max_tokens`."""
    tools: list[OfferedTool] = []
    tool_choice: Literal["auto", "none"] = "auto"
    parallel_tool_calls: Literal[True] = True
    functions: list[object] = Field([], max_length=0)
    """The older name of `tools`, with other answers."""
    function_call: Literal["auto"] = "auto"
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=0)
    response_format: ResponseFormat = ResponseFormat(type="text")

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools that the model may call, as chat templates take them."""
        return [] if self.tool_choice == "none" else [tool.model_dump() for tool in self.tools]
