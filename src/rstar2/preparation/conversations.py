"""One source of conversations, from rows to clean ones."""

import random
from collections import Counter
from collections.abc import Callable, Iterable

from rstar2.config import ConversationSource
from rstar2.preparation.columns import Columns, is_wanted
from rstar2.preparation.dialogue import Dialogue, Unusable
from rstar2.preparation.formats import FORMATS
from rstar2.preparation.manifest import SourceCount, counts_of_drops


def clean_conversations(
    name: str,
    source: ConversationSource,
    rows: Iterable[Columns],
    *,
    seed: int,
    on_row: Callable[[], None] = lambda: None,
) -> tuple[list[Dialogue], SourceCount]:
    """Those that can be learned from, without repeats, as many as the source is to give, in its order."""
    read = FORMATS[source.format]
    found: dict[str, Dialogue] = {}
    dropped: Counter[str] = Counter()
    num_rows = num_others = num_repeats = 0
    for row in rows:
        num_rows += 1
        on_row()
        if not is_wanted(row, source):
            num_others += 1
            continue
        try:
            spoken = read(row)
        except Unusable as reason:
            dropped[str(reason)] += 1
            continue
        except RecursionError:  # of the JSON within a row, wherever it is read, mended or written
            dropped["nested too deep"] += 1
            continue
        num_repeats += spoken.id in found
        found.setdefault(spoken.id, spoken)
    kept = _drawn(list(found.values()), source.take, random.Random(f"{seed}/{name}"))
    drops = [
        ("of other rows", num_others),
        *sorted(dropped.items()),
        ("repeats", num_repeats),
        ("not drawn", len(found) - len(kept)),
    ]
    return kept, SourceCount(
        name=name,
        origin=source.path or source.hub,
        licence=source.licence,
        paper=source.paper,
        filters=counts_of_drops(num_rows, drops),
    )


def _drawn(found: list[Dialogue], count: int, rng: random.Random) -> list[Dialogue]:
    if not count or count >= len(found):
        return found
    return [found[place] for place in sorted(rng.sample(range(len(found)), count))]
