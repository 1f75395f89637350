"""From a `RunConfig` to live parts: the only unit that knows all concrete ones.

problem_sets   what is trained on, what is measured on
policy         tokenizer and model, given or built from nothing
engines  learner  sandbox   one part each, as its section says
players        engines, sandbox and grader behind a collector
training       all that a training run needs
"""

from rstar2.assemble.players import Players, playing
from rstar2.assemble.policy import export
from rstar2.assemble.problem_sets import held_out_problems, problem_sets
from rstar2.assemble.sandbox import new_sandbox
from rstar2.assemble.training import training_parts

__all__ = [
    "Players",
    "export",
    "held_out_problems",
    "new_sandbox",
    "playing",
    "problem_sets",
    "training_parts",
]
