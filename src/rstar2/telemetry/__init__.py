"""What a run tells of itself, none of which steers it.

json_lines   numbers and rollouts on disk, always: they can be cut back to a checkpoint
whole_file   files that a live page may read while they are replaced
following    the same files, read while they grow
activity     what was under way at every moment of a step
trackers     the same numbers in TensorBoard or Weights & Biases; tracking opens those that the config names
"""

from rstar2.telemetry.activity import Activity, Window, Work
from rstar2.telemetry.following import Follower, Line
from rstar2.telemetry.json_lines import JsonLines
from rstar2.telemetry.whole_file import replace_text

__all__ = ["Activity", "Follower", "JsonLines", "Line", "Window", "Work", "replace_text"]
