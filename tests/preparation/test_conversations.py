"""One source of conversations: which of its rows are kept, and under which name the others are counted."""

import pytest

from rstar2.config import ConversationSource
from rstar2.preparation.columns import Columns
from rstar2.preparation.conversations import clean_conversations

DEEP = "[" * 100_000
TOOL = '{"name": "f"}'


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("sharegpt", "apigen-mt", {"tools": DEEP}),
        ("sharegpt", "apigen-mt", {"conversations": [{"from": "function_call", "value": DEEP}]}),
        ("glaive", "glaive", {"system": f'{TOOL} {{"name": {DEEP}'}),
        ("glaive", "glaive", {"chat": f"USER: x\n\nASSISTANT: <functioncall> {DEEP}"}),
        ("toolace", "toolace", {"system": f'[{{"name": {DEEP}'}),
    ],
)
def test_a_row_nested_too_deep_is_dropped_and_the_next_is_read(published, kind, name, changes):
    rows = [Columns("row 1", published[name] | changes), Columns("row 2", published[name])]
    kept, count = clean_conversations(
        name, ConversationSource(hub="x/y", licence="MIT", format=kind), rows, seed=0
    )
    assert len(kept) == 1
    assert [(f.name, f.num_before - f.num_after) for f in count.filters] == [
        ("of other rows", 0), ("nested too deep", 1)
    ]  # fmt: skip
