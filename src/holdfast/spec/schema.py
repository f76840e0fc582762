"""The checklist's JSON Schema, so that editors complete and check `holdfast.toml`."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from holdfast.spec.checklist import Checklist
from holdfast.spec.keys import Key, bare, keys, limit, sections
from holdfast.spec.plain import plain_value
from holdfast.spec.quantities import (
    DURATION_PATTERN,
    FALSE_ALARMS_PATTERN,
    ROWS_PATTERN,
    Duration,
    FalseAlarmBudget,
    WindowSize,
)

_PATTERNS: Final[dict[Any, str]] = {
    Duration: DURATION_PATTERN,
    WindowSize: f"({DURATION_PATTERN})|({ROWS_PATTERN})",
    FalseAlarmBudget: FALSE_ALARMS_PATTERN,
}
_TYPES: Final[dict[Any, str]] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_LIMITS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
}


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. Rules that need two keys are not in it; holdfast itself checks them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "holdfast.toml",
        "description": (Checklist.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, of in keys().items() if any(key.required for key in of.values())],
        "properties": {name: _section(name) for name in keys()},
    }


def _section(name: str) -> dict[str, Any]:
    of_section = keys()[name]
    schema: dict[str, Any] = {
        "type": "object",
        "description": (sections()[name].__doc__ or "").strip(),
        "additionalProperties": False,
        "properties": {key.name: _key(key) for key in of_section.values()},
    }
    required = [key.name for key in of_section.values() if key.required]
    if required:
        schema["required"] = required
    return schema


def _key(key: Key) -> dict[str, Any]:
    schema = _type(key.type)
    schema["description"] = key.description
    if key.default is not msgspec.NODEFAULT and key.default is not None:
        schema["default"] = plain_value(key.default)
    if limit(key.type, "examples") is not None:
        schema["examples"] = limit(key.type, "examples")
    return schema


def _type(wanted: Any) -> dict[str, Any]:
    kind = bare(wanted)
    if kind in _PATTERNS:
        return {"type": "string", "pattern": _PATTERNS[kind]}
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        schema: dict[str, Any] = {"type": "array", "items": _type(get_args(kind)[0])}
        if limit(wanted, "min_length") is not None:
            schema["minItems"] = limit(wanted, "min_length")
        return schema
    if get_origin(kind) is dict:
        name, item = get_args(kind)
        schema = {"type": "object", "additionalProperties": _type(item)}
        if name is not str:
            schema["propertyNames"] = _type(name)
        return schema
    schema = {"type": _TYPES[kind]}
    for attribute, word in _LIMITS.items():
        value = limit(wanted, attribute)
        if value is not None:
            schema[word] = value
    shortest = limit(wanted, "min_length")
    if shortest is not None:
        schema["minLength"] = shortest
    return schema
