"""BFCL v3 on what `rstar2 serve` serves: its own command line, with one more model, `rstar2`.

    export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none BFCL_PROJECT_ROOT=bfcl
    python examples/bfcl.py generate --model rstar2 --temperature 0 --num-threads 8
    python examples/bfcl.py evaluate --model rstar2

It runs where bfcl-eval is installed, and needs nothing of ours. Tools go out as `tools`, calls come back as
`tool_calls`. The harness cannot bear `_` in a model's name; the server is asked for the one that it goes by.
"""

from functools import cached_property
from typing import Any

from bfcl_eval.__main__ import cli
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler

NAME = "rstar2"


class ServedModel(OpenAICompletionsHandler):
    """The one model of the server at OPENAI_BASE_URL."""

    @cached_property
    def served_name(self) -> str:
        (served,) = self.client.models.list().data
        return str(served.id)

    def generate_with_backoff(self, **request: Any) -> Any:
        return super().generate_with_backoff(**(request | {"model": self.served_name}))


MODEL_CONFIG_MAPPING[NAME] = ModelConfig(
    model_name=NAME,
    display_name=NAME,
    url="",
    org="",
    license="",
    model_handler=ServedModel,
    is_fc_model=True,
    underscore_to_dot=True,  # tools go out with `_` for `.`, as OpenAI wants them, and are checked so
)

if __name__ == "__main__":
    cli()
