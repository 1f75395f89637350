"""A tool as the model knows it, and whether a call's arguments fit.

What is said of wrong arguments is written here, from the schema, and never quotes the arguments at
length: the model reads it. Schemas may come from strangers (MCP servers), so one that cannot be checked
is refused before the first call, and none makes a check fetch anything.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from rstar2.errors import InputError

JsonSchema = dict[str, Any]
_ARTICLES = {"array": "an", "integer": "an", "object": "an"}
_LONGEST_QUOTE_CHARS = 80
_LONGEST_REASON_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ToolSchema:
    """Name, description and parameters of a tool, in the form that chat templates and OpenAI's API take."""

    name: str
    description: str
    parameters: JsonSchema
    """JSON schema of the arguments, as the model reads it."""
    accepted: JsonSchema = field(default_factory=dict)
    """JSON schema that calls are held to; `parameters` unless something else is given."""
    aliases: tuple[str, ...] = ()
    """Further names under which it may be called, and which the model is not told."""
    _validator: Validator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.accepted:
            object.__setattr__(self, "accepted", self.parameters)
        object.__setattr__(self, "_validator", _validator(self.name, self.accepted))

    @property
    def shown(self) -> dict[str, Any]:
        """The entry of the system prompt's list of tools."""
        described = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": described}

    def complaint(self, arguments: object) -> str | None:
        """What is wrong with the arguments, in one short sentence; None if they fit."""
        names = list(self.accepted.get("properties", {}))
        if not isinstance(arguments, dict):
            wanted = f" with {_listed(names)}" if names else ""
            return f'"arguments" must be an object{wanted}'
        if not all(map(_is_unicode, _texts(arguments))):  # first: what is said below may quote a name
            return f"{_listed(names) or 'the arguments'} must not hold half of a surrogate pair"
        errors = sorted(self._validator.iter_errors(arguments), key=_importance)
        if errors and _importance(errors[0]) == 0:
            return _expected_types(self.accepted.get("properties", {})) or _sentence(errors[0])
        unknown = sorted(set(arguments) - set(names))
        if errors and errors[0].validator == "additionalProperties" and unknown:
            known = f"the arguments are {_listed(names, quote='')}" if names else "there are no arguments"
            return f"unknown argument {unknown[0][:_LONGEST_QUOTE_CHARS]!r}; {known}"
        return _sentence(errors[0]) if errors else None


def _validator(name: str, schema: JsonSchema) -> Validator:
    """A checker of arguments that knows this schema and nothing else."""
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        if schema.get("type", "object") != "object":
            raise SchemaError("its type must be object")
        resource = Resource.from_contents(schema, default_specification=DRAFT202012)
        uri = resource.id() or ""
        resolver = Registry().with_resource(uri, resource).resolver(base_uri=uri)
        for reference in _references(schema):
            resolver.lookup(reference)
    except (SchemaError, Unresolvable, RecursionError) as error:
        reason = error.message if isinstance(error, SchemaError) else repr(error)
        raise InputError(
            f"the schema of the tool {name!r} cannot be used ({reason[:_LONGEST_REASON_CHARS]}): "
            "mend it, or leave the tool out"
        ) from error
    return kind(schema, registry=Registry())


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _importance(error: ValidationError) -> int:
    """0 for an argument that is missing or of a wrong type, 1 for an unknown one, 2 for the rest."""
    if error.validator == "required" and not error.path:
        return 0
    if error.validator == "type" and len(error.path) == 1:
        return 0
    return 1 if error.validator == "additionalProperties" and not error.path else 2


def _expected_types(properties: Mapping[str, JsonSchema]) -> str:
    """'"code" and "input" must be strings'; empty if a type is not a single word."""
    by_type: dict[str, list[str]] = {}
    for name, schema in properties.items():
        type_name = schema.get("type") if isinstance(schema, Mapping) else None
        if not isinstance(type_name, str):
            return ""
        by_type.setdefault(type_name, []).append(name)
    parts = []
    for type_name, names in by_type.items():
        wanted = f"{_ARTICLES.get(type_name, 'a')} {type_name}" if len(names) == 1 else f"{type_name}s"
        parts.append(f"{_listed(names)} must be {wanted}")
    return "; ".join(parts)


def _sentence(error: ValidationError) -> str:
    """Where and which rule of the schema is broken."""
    place = ".".join(map(str, error.path))[:_LONGEST_QUOTE_CHARS] or "arguments"
    rule = json.dumps(error.validator_value, ensure_ascii=False)[:_LONGEST_QUOTE_CHARS]
    return f'"{place}" must satisfy {error.validator}: {rule}'


def _listed(names: Sequence[str], *, quote: str = '"') -> str:
    quoted = [f"{quote}{name}{quote}" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON escapes can spell and no file or pipe can carry."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
