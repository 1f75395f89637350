"""A run to look at: tables, curves, where the time went, groups before and after RoC, rollouts to read.

    run's folder -> run_parts (what to show, as JSON) -> writing (one HTML file)
                                                     `-> live (the same page, while the run goes on)

curves, anatomy, conversations, occasions, scores and differences each make one kind of data; page/ holds
the HTML, the style and the scripts that draw it.
"""

from rstar2.evaluation.report.writing import write_report

__all__ = ["write_report"]
