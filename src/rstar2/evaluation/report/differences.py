"""In which settings runs differ: the first thing to know about two curves."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MISSING = "-"


def differences(configs: Sequence[str]) -> list[dict[str, Any]]:
    """Every key that is not the same in all of these TOML texts, with its value in each as text."""
    flat = [dict(_flat(tomllib.loads(config))) for config in configs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [{"key": name, "values": [settings.get(name, MISSING) for settings in flat]} for name in names]
    return [row for row in rows if len(set(row["values"])) > 1]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, text) of every leaf; entries of a list of tables go by their name, or else by place."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{inner.get('name', place)}")
    else:
        yield path, str(value)
