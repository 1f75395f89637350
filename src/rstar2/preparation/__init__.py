"""Training data from published sources, as the paper made it (section 4, arXiv:2508.20722).

    hub or files -> rows -> formats    -> conversations -> filters -> (rewriting)     -> sft.jsonl
                            columns    -> problems      -> filters -> (label check)   -> problems.jsonl
                            benchmarks -> what must not be trained on                 -> benchmarks/

Each source becomes a shard that is made once; what a served model said is kept line by line. So a
preparation that is killed at any instant goes on where it was, and a changed setting makes anew no more
than what depends on it. `pipeline.py` is the order of it all, `manifest.py` the counts.
"""

from rstar2.preparation.job import Job, Progress
from rstar2.preparation.manifest import Manifest, SourceCount
from rstar2.preparation.pipeline import prepare

__all__ = ["Job", "Manifest", "Progress", "SourceCount", "prepare"]
