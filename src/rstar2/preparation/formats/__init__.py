"""How the rows of published conversations read: one function per format, from a row's columns to a dialogue.

A function raises DataError where a row is not of its format, which ends the preparation, and Unusable where
it is but cannot be learned from, which is counted, as is the RecursionError of JSON nested too deep.
"""

from collections.abc import Callable, Mapping

from rstar2.preparation.columns import Columns
from rstar2.preparation.dialogue import Dialogue
from rstar2.preparation.formats.glaive import glaive
from rstar2.preparation.formats.plain import magicoder, messages, nemotron
from rstar2.preparation.formats.sharegpt import sharegpt
from rstar2.preparation.formats.toolace import toolace

FORMATS: Mapping[str, Callable[[Columns], Dialogue]] = {
    "toolace": toolace,
    "sharegpt": sharegpt,
    "glaive": glaive,
    "magicoder": magicoder,
    "messages": messages,
    "nemotron": nemotron,
}
"""By `conversations.*.format`."""

__all__ = ["FORMATS"]
