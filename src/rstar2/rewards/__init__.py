"""The only reward there is: whether the final answer is right."""

from rstar2.rewards.outcome import OutcomeGrader

__all__ = ["OutcomeGrader"]
