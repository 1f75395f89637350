"""Every failure that is not the model's own, one type per boundary.

    Rstar2Error
    |-- InputError                 the user's input; CLI exit code 2
    |   |-- ConfigError            a key, a type or a cross-field rule of a run config
    |   |-- DataError              a problem file, a row, an answer that is no integer
    |   `-- TemplateError          a chat template that is not prefix-stable
    |-- InfrastructureError        the world failed; retried, then counted, never scored
    |   |-- SandboxError           a worker died, a node is gone
    |   |-- EngineError            a generation engine died or refused
    |   |-- LearnerError           a learner rank died; the run goes on from its last checkpoint
    |   `-- CheckpointError        a checkpoint is torn or of another format
    `-- CapacityError              a request that can never fit (prompt longer than the KV budget)

The model's mistakes are data (`ToolStatus`), not exceptions; our bugs are assertions.
Messages are one sentence that names the remedy.
"""


class Rstar2Error(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(Rstar2Error):
    """Something the user gave is wrong; the message says what to change."""


class ConfigError(InputError):
    """A run configuration does not hold together."""


class DataError(InputError):
    """A data file or a row in it cannot be used."""


class TemplateError(InputError):
    """A chat template cannot be used for token-in token-out rollouts."""


class InfrastructureError(Rstar2Error):
    """The world failed; the work may be tried again and is never scored."""


class SandboxError(InfrastructureError):
    """A program could not be run, through no fault of the program."""


class EngineError(InfrastructureError):
    """A generation engine could not answer."""


class LearnerError(InfrastructureError):
    """A rank of the learner is lost, and its part of the weights with it."""


class CheckpointError(InfrastructureError):
    """A checkpoint, or another file of a run, cannot be read or written."""


class CapacityError(Rstar2Error):
    """A request asks for more than the component can ever give."""
