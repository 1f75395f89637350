"""The paper's claims in miniature: the same recipe with one thing changed, over seeds, with intervals.

arms        what is changed, and why: each arm is a name and overrides of a config
trials      an arm with a seed: its folder, its command, and what must have run before
campaign    runs what is missing, some trials at a time; stopped, it goes on where it was
outcomes    from the folders of finished trials to numbers
contrasts   an arm beside another, paired by seed
claims      what the paper says of two arms, and whether the trials bear it out
page        the tables as Markdown, the numbers as JSON, the curves as pictures
"""

from rstar2.reproduction.arms import Arm, arms_of, chosen
from rstar2.reproduction.campaign import run_missing
from rstar2.reproduction.outcomes import Outcome, read_outcome
from rstar2.reproduction.page import write_page
from rstar2.reproduction.trials import Trial, trials_of

__all__ = [
    "Arm",
    "Outcome",
    "Trial",
    "arms_of",
    "chosen",
    "read_outcome",
    "run_missing",
    "trials_of",
    "write_page",
]
