"""What would end a training run after hours: refused before it begins.

Not in the config's own rules: whoever evaluates or plans loads the same config, and needs none of this.
"""

from collections.abc import Iterator, Sequence
from heapq import nlargest

from rstar2.config import RunConfig
from rstar2.corpus.worked import known_tasks
from rstar2.errors import ConfigError
from rstar2.models.loading import max_positions
from rstar2.protocol.template import Template
from rstar2.types import Problem

_NUM_TOKENIZED = 100
"""Of the longest questions, by characters: one of their prompts has the most tokens, or nearly so."""


def refuse_tasks_without_attempts(config: RunConfig) -> None:
    """Generated text is about attempts at tasks, of which `corpus.worked` knows some.

    That is what the tiny base reads, and what SFT learns from unless it has files.
    """
    sft, problems, is_tiny = config.sft, config.problems, config.model.base == "tiny"
    is_generated = sft.steps > 0 and not sft.files
    remedy = "name sft.files, or set sft.steps = 0"
    if is_generated and problems.source == "files":
        raise ConfigError(f'SFT generates no demonstrations of problems.source = "files": {remedy}')
    unknown = sorted(problems.tasks.keys() - set(known_tasks())) if problems.source == "gym" else []
    if unknown and (is_generated or is_tiny):
        raise ConfigError(
            f"no text is generated about problems.tasks.{unknown[0]}, only about {', '.join(known_tasks())}: "
            + ("leave it out" if is_tiny else f"leave it out, {remedy}")
        )


def refuse_rollouts_without_room(
    config: RunConfig,
    template: Template,
    *,
    train: Sequence[Problem],
    test: Sequence[Problem],
    room_tokens: int,
) -> None:
    """ConfigError if a prompt with the longest response after it fits no engine or not the model's positions.

    An engine says the first when the problem is drawn, which may be days later, and again after every resume.
    The second ours never says: it goes on beyond the positions that the model was made for.
    """
    tiny = config.model.tiny
    positions = tiny.max_positions if config.model.base == "tiny" else max_positions(config.model.base)
    for problems, key, response_tokens in _longest_responses(config, train, test):
        prompt_tokens, problem_id = _longest_prompt(template, problems)
        total_tokens = prompt_tokens + response_tokens
        too_long = (
            f"the prompt of problem {problem_id!r}, {prompt_tokens} tokens, and {key} = {response_tokens} "
            f"make {total_tokens} tokens"
        )
        if total_tokens > positions:
            raise ConfigError(
                f"{too_long}, and the model has {positions} positions: lower {key}, or leave the problem out"
            )
        if total_tokens > room_tokens:
            raise ConfigError(
                f"{too_long}, and an engine holds {room_tokens}: raise engine.kv_tokens to {total_tokens} or "
                "more"
            )


def _longest_responses(
    config: RunConfig, train: Sequence[Problem], test: Sequence[Problem]
) -> Iterator[tuple[Sequence[Problem], str, int]]:
    """(problems, the key that limits the longest response to them, its tokens)."""
    yield test, "evaluation.max_response_tokens", config.evaluation.max_response_tokens
    if config.stages:
        tokens, n = max((stage.max_response_tokens, n) for n, stage in enumerate(config.stages))
        yield train, f"stages.{n}.max_response_tokens", tokens


def _longest_prompt(template: Template, problems: Sequence[Problem]) -> tuple[int, str]:
    """(its tokens, the problem's id)."""
    longest = nlargest(_NUM_TOKENIZED, problems, key=lambda problem: len(problem.question))
    return max(((len(template.prompt(problem.question)), problem.id) for problem in longest), default=(0, ""))
