"""What would end a training run after hours: refused before it begins.

Not in the config's own rules: whoever evaluates or plans loads the same config, and needs none of this.
"""

from rstar2.config import RunConfig
from rstar2.corpus.worked import known_tasks
from rstar2.errors import ConfigError


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
