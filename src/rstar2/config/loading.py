"""From a TOML file and overrides to a config, and back; what is wrong is named by its dotted path."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import ValidationError

from rstar2.config.run import RunConfig
from rstar2.config.section import Section
from rstar2.errors import ConfigError

AnySection = TypeVar("AnySection", bound=Section)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file and apply `section.key=value` overrides (values are TOML, or bare text)."""
    return load_section(RunConfig, path, overrides)


def parse_config(data: Mapping[str, Any], *, origin: str = "config") -> RunConfig:
    """Check a mapping; ConfigError names the first bad field by its dotted path."""
    return parse_section(RunConfig, data, origin=origin)


def load_section(kind: type[AnySection], path: Path, overrides: Sequence[str] = ()) -> AnySection:
    """The same for a file of another kind."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no config file '{path}': give the path of a TOML file"
            " (those that come with rstar2 are in configs/ of its repository)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config file '{path}' cannot be read ({error}): give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}' is not valid TOML: {error}") from error
    apply_overrides(data, overrides)
    return parse_section(kind, data, origin=str(path))


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change keys as `section.key=value` texts say, in order."""
    for override in overrides:
        _apply(data, override)


def parse_section(kind: type[AnySection], data: Mapping[str, Any], *, origin: str) -> AnySection:
    """A mapping as a section of this kind."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        if first["type"] == "extra_forbidden":
            what = f"unknown key; known here: {', '.join(_known_keys(kind, first['loc'][:-1]))}"
        else:
            what = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{origin}: {where}: {what}") from error


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as TOML; `load_config` reads it back to an equal value."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _known_keys(kind: type[Section], location: Sequence[str | int]) -> list[str]:
    section: Any = kind
    for part in location:
        if part not in getattr(section, "model_fields", ()):
            continue  # a place in a list or a mapping, whose entries are alike
        annotation = section.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        kinds = [argument for argument in arguments if hasattr(argument, "model_fields")]
        section = kinds[0] if kinds else annotation
    return list(getattr(section, "model_fields", {}))


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"an override is written section.key=value, not '{override}'")
    *parents, key = path.strip().split(".")
    node: Any = data
    for parent in parents:
        node = _child(node, parent, override)
    value = _toml_value(text.strip())
    if isinstance(node, list):
        raise ConfigError(f"override '{override}' must name a key inside one entry, as stages.0.steps=5")
    node[key] = value


def _child(node: Any, name: str, override: str) -> Any:
    if isinstance(node, list):
        if not name.isdigit() or int(name) >= len(node):
            raise ConfigError(f"override '{override}': entry {name} does not exist (there are {len(node)})")
        return node[int(name)]
    child = node.setdefault(name, {})
    if not isinstance(child, dict | list):
        raise ConfigError(f"override '{override}': {name} is a value, not a section")
    return child


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
