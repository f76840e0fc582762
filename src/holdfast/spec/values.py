"""One value: checked against its type, read from text, described in words."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from holdfast.spec.errors import ChecklistError
from holdfast.spec.keys import bare, is_optional, limit
from holdfast.spec.quantities import Duration, FalseAlarmBudget, WindowSize

QUANTITIES: Final[dict[type, str]] = {
    Duration: 'a duration such as "14d", "12h", "30min" or "250ms", at most 100 years',
    WindowSize: 'a window such as "1d", "6h", "15min" or "1000 rows"',
    FalseAlarmBudget: 'a budget such as "1 per 1000 windows"',
}
LARGEST_INTEGER: Final = 2**53
"""Beyond it JSON readers differ, so neither a hash nor a schema would mean the same everywhere."""

Report = Callable[[str, ChecklistError], None]
"""Receives the path inside the value (`[2]`, `.name`, or nothing) and the fault, which has no `where` yet."""


def check_value(value: Any, wanted: Any, report: Report, *, secret: bool = False, path: str = "") -> Any:
    """The value as its type wants it, or None after at least one fault was reported.

    Args:
        value: as TOML or JSON gives it; quantities may also be given as themselves.
        wanted: an annotated type of the checklist.
        report: called once for each fault.
        secret: text is not repeated in faults.
        path: of the value inside the key's value.
    """
    kind = bare(wanted)

    def refuse(what: str, expected: str | None = None) -> None:
        report(
            path,
            ChecklistError(what, expected=expected or in_words(wanted), received=shown(value, secret=secret)),
        )

    if value is None and is_optional(wanted):
        return None
    if isinstance(value, str):
        fault = _text_fault(value)
        if fault is not None:
            return refuse(fault, "printable text on one line")
    if kind in QUANTITIES:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            return refuse("wrong type")
        try:
            return kind.parse(value)
        except ValueError:
            return refuse("not readable")
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return refuse("wrong type")
        if len(value) < (limit(wanted, "min_length") or 0):
            return refuse("too few")
        item = get_args(kind)[0]
        return tuple(
            check_value(each, item, report, secret=secret, path=f"{path}[{index}]")
            for index, each in enumerate(value)
        )
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            return refuse("wrong type")
        name_type, item = get_args(kind)
        for name in value:
            check_value(name, name_type, report, secret=secret, path=path + step(name))
        return {
            name: check_value(each, item, report, secret=secret, path=path + step(name))
            for name, each in value.items()
        }
    return _check_scalar(value, wanted, refuse)


def _check_scalar(value: Any, wanted: Any, refuse: Callable[[str], None]) -> Any:
    try:
        checked = msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        if "got `" in str(error):
            return refuse("wrong type")
        return refuse("unknown choice" if get_origin(bare(wanted)) is Literal else "not allowed")
    if isinstance(checked, float) and not math.isfinite(checked):
        return refuse("not a finite number")
    if isinstance(checked, int) and abs(checked) > LARGEST_INTEGER:
        return refuse("too large a number")
    return checked + 0.0 if isinstance(checked, float) else checked  # -0.0 becomes 0.0: one number, one hash


def from_text(text: str, wanted: Any) -> Any:
    """What `check_value` can check, from one line of text: an environment variable or an answer.

    Numbers, `true` and `false`, lists as JSON or separated by commas, tables as JSON or as `name=class`
    separated by commas, and whatever stands in quotes or brackets as in the file. Text that cannot be read so
    is returned as it is, for `check_value` to refuse.
    """
    kind, stripped = bare(wanted), text.strip()
    if stripped[:1] == '"' or (kind is not str and stripped[:1] in {"[", "{"}):
        try:
            return tomllib.loads(f"value = {stripped}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError, OverflowError):
            pass  # JSON, or nothing that can be read
    if is_optional(wanted) and stripped in {"", "unset", "none"}:
        return None
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                stripped.lower()
            ]
        if kind is int:
            return int(stripped) if len(stripped) < 40 else text
        if kind is float:
            return float(stripped)
        if get_origin(kind) is tuple:
            if stripped.startswith("["):
                return msgspec.json.decode(stripped)
            item = get_args(kind)[0]
            return [from_text(part.strip(), item) for part in stripped.split(",") if part.strip()]
        if get_origin(kind) is dict:
            if stripped.startswith("{"):
                return msgspec.json.decode(stripped)
            pairs = [part.partition("=") for part in stripped.split(",") if part.strip()]
            if all(sign for _, sign, _ in pairs):
                return {name.strip(): value.strip() for name, _, value in pairs}
    except (ValueError, KeyError, msgspec.DecodeError, RecursionError):
        return text
    return text if kind is str else stripped


def in_words(wanted: Any) -> str:
    """What the type allows, as the `expected` of an error and the reference page say it.

    A type with a pattern carries its words in `Meta(extra={"words": ...})`.
    """
    kind = bare(wanted)
    if kind in QUANTITIES:
        return QUANTITIES[kind]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if get_origin(kind) is tuple:
        some = "a list of at least one" if limit(wanted, "min_length") else "a list"
        return f"{some}, each {in_words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        name, item = get_args(kind)
        names = "" if name is str else f" whose names are each {in_words(name)} and"
        return f"a table{names} whose values are each {in_words(item)}"
    if kind is bool:
        return "true or false"
    if kind is str:
        if limit(wanted, "extra") is not None:
            return str(limit(wanted, "extra")["words"])
        return "text that is not empty" if limit(wanted, "min_length") else "text"
    return ("a whole number" if kind is int else "a number") + _bounds(wanted)


def _bounds(wanted: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = {name: limit(wanted, name) for name in words}
    text = " and ".join(f"{words[name]} {value}" for name, value in limits.items() if value is not None)
    return f", {text}" if text else ""


def shown(value: Any, *, secret: bool = False) -> str:
    """The value as the `received` of an error says it: short, and without text that may be a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value) if isinstance(value, float) or abs(value) < 10**40 else "a number of many digits"
    if isinstance(value, str):
        if secret:
            return f"text of {len(value)} characters"
        short = value if len(value) <= 60 else value[:57] + "..."
        return msgspec.json.encode(short.encode("utf-8", "replace").decode()).decode()
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a table"
    return "nothing" if value is None else f"a {type(value).__name__}"


def step(name: Any) -> str:
    """One step of a path: `.name`, or `["odd name"]` where TOML would need quotes."""
    text = str(name)
    if text and text.isascii() and text.replace("-", "").replace("_", "").isalnum():
        return f".{text}"
    return f"[{shown(text)}]"


def _text_fault(text: str) -> str | None:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "control character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "not Unicode"
    return None
