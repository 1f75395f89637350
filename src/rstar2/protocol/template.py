"""Chat rendering for rollouts: a prompt, and the bridge that carries a tool response, as tokens.

Everything is derived from the tokenizer's own chat template, so a released checkpoint keeps its
format. A rollout is append-only: prompt + (turn by the model) + bridge + (turn) + ... and never
re-rendered. `Template` refuses at construction a chat template for which

    render(conversation so far) + written turn + bridge == render(whole conversation)

does not hold, because such a template would train on tokens that were never sampled.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from rstar2.errors import TemplateError
from rstar2.protocol.schema import JsonSchema, ToolSchema
from rstar2.protocol.tokenizer import HuggingFaceTokenizer

Message = Mapping[str, Any]
"""One chat message in the usual form: role, content, optional reasoning_content and tool_calls."""

TOOL_NAME = "execute_python_code_with_standard_io"
"""The paper's name (arXiv:2508.20722, Fig. 3); the same in SFT, RL and evaluation."""

_PYTHON_PARAMETERS: JsonSchema = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "input": {"type": "string"}},
    "required": ["code", "input"],
}
PYTHON_TOOL = ToolSchema(
    name=TOOL_NAME,
    description="Run Python and return what it prints.",
    parameters=_PYTHON_PARAMETERS,
    # `input` may be left out: nothing is in doubt then.
    accepted={**_PYTHON_PARAMETERS, "required": ["code"], "additionalProperties": False},
    aliases=("python_code_with_standard_io",),  # the release's name, so that its weights are understood
)

_PROBE_TURN = "first\n thoughts </reason>then <tool_call>{}</tool_call>"
_PROBE_ANSWER = " more </reason><answer>\\boxed{1}</answer>"


def chatml_template() -> str:
    """Our chat template (Jinja): ChatML roles, Hermes tools, `<reason>` forced on every assistant turn."""
    return resources.files("rstar2.protocol").joinpath("chatml.jinja").read_text(encoding="utf-8")


class Template:
    """Renders prompts and bridges of one tokenizer's chat template."""

    def __init__(
        self,
        tokenizer: HuggingFaceTokenizer,
        *,
        system: str,
        user: str,
        tools: Sequence[ToolSchema] = (PYTHON_TOOL,),
    ) -> None:
        """`user` holds `{question}`; an empty `system` leaves the template's own system text."""
        if "{question}" not in user:
            raise TemplateError("the user prompt must contain {question}: add it where the problem goes")
        self.tokenizer = tokenizer
        self._system = system
        self._user = user
        self._tools = [tool.shown for tool in tools]
        self._end_of_turn = tokenizer.decode([tokenizer.eos_token_id])
        self._before, self._after = self._find_bridge()
        self._check_prefix_stable()

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of a conversation, exactly as the model sees it; with these tools instead of our own."""
        shown = self._tools if tools is None else list(tools)
        try:
            text = self.tokenizer.hf.apply_chat_template(
                list(messages),
                tools=shown or None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except Exception as error:  # jinja raises many kinds; all of them mean an unusable template
            raise TemplateError(
                f"the chat template cannot render a conversation with tools ({error}); use a checkpoint "
                "with a tool-calling template or set protocol.template = 'chatml'"
            ) from error
        return str(text)

    def opening(self, question: str) -> list[Message]:
        """The messages that open a rollout on `question`."""
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, {"role": "user", "content": self._user.replace("{question}", question)}]

    def prompt(self, question: str) -> tuple[int, ...]:
        """Tokens up to and including the generation prompt of the first turn."""
        return tuple(self.tokenizer.encode(self.render(self.opening(question), add_generation_prompt=True)))

    def bridge(self, tool_text: str) -> tuple[int, ...]:
        """Tokens between a turn's end-of-turn token and the model's next token, carrying `tool_text`.

        A program that prints `<|im_end|>` or a tag prints characters: it cannot end the response.
        """
        encode = self.tokenizer.encode
        if not self.tokenizer.has_control_token(tool_text):
            return tuple(encode(self._before + tool_text + self._after))
        untrusted = self.tokenizer.encode_untrusted(tool_text)
        return (*encode(self._before), *untrusted, *encode(self._after))

    def _find_bridge(self) -> tuple[str, str]:
        mark = "@@tool@@"
        turn = {"role": "assistant", "content": _PROBE_TURN}
        full = self.render(
            [*self.opening("q"), turn, {"role": "tool", "content": mark}], add_generation_prompt=True
        )
        _, _, bridge = full.partition(_PROBE_TURN + self._end_of_turn)
        before, found, after = bridge.partition(mark)
        if not found:
            raise TemplateError(
                "the chat template is not prefix-stable: it changes an assistant turn (or drops a tool "
                "response) when it renders the conversation again; set protocol.template = 'chatml'"
            )
        return before, after

    def _check_prefix_stable(self) -> None:
        opening = self.opening("What is 2+2?")
        turns = [
            {"role": "assistant", "content": _PROBE_TURN},
            {"role": "tool", "content": "4"},
            {"role": "assistant", "content": _PROBE_ANSWER},
        ]
        grown = self.render(opening, add_generation_prompt=True)
        grown += _PROBE_TURN + self._end_of_turn + self._before + "4" + self._after
        grown += _PROBE_ANSWER + self._end_of_turn
        full = self.render([*opening, *turns])
        if not full.startswith(grown) or full[len(grown) :].strip():
            raise TemplateError(
                "the chat template is not prefix-stable: rendering a finished conversation differs from "
                "growing it turn by turn; set protocol.template = 'chatml'"
            )


def call_text(code: str, stdin: str = "") -> str:
    """A well-formed call of the Python tool, as the model is taught to write it."""
    arguments = {"code": code, "input": stdin}
    call = json.dumps({"name": TOOL_NAME, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{call}</tool_call>"
