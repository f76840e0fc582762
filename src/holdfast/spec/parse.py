"""From the text of `holdfast.toml` and the environment to a checked `Checklist`."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.spec.checklist import Checklist
from holdfast.spec.environment import read_overrides
from holdfast.spec.errors import ChecklistError, as_one
from holdfast.spec.keys import Key, keys, sections
from holdfast.spec.rules import broken_rules
from holdfast.spec.suggest import hint_for_key, hint_for_section
from holdfast.spec.values import check_value, shown, step


def load_checklist(path: Path, environ: Mapping[str, str]) -> Checklist:
    """Read and check the file, with overrides from `environ`.

    Raises:
        ChecklistError: the file is missing, unreadable, or says something that is not allowed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ChecklistError(
            "there is no checklist",
            where=str(path),
            next_step=f"Write one with: holdfast init {shlex.quote(str(path.parent))}",
        ) from None
    except UnicodeDecodeError as error:
        raise ChecklistError(
            "not UTF-8 text", where=f"{path}: byte {error.start + 1}", next_step="Save the file as UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ChecklistError(f"the checklist cannot be read: {reason}", where=str(path)) from None
    return parse_checklist(text, source=path.name, environ=environ)


def parse_checklist(text: str, *, source: str, environ: Mapping[str, str] | None = None) -> Checklist:
    """Check the text of a checklist; every fault in it is reported, not only the first.

    Args:
        text: TOML.
        source: what errors call it, such as the file's name.
        environ: variables with overrides; None for none.

    Raises:
        ChecklistError: the text is no TOML, or says something that is not allowed.
    """
    return build_checklist(_read_toml(text, source), source=source, environ=environ or {})


def build_checklist(
    document: Mapping[str, Any], *, source: str, environ: Mapping[str, str] | None = None
) -> Checklist:
    """As `parse_checklist`, from tables that are read already: sections by name, in them keys by name.

    Raises:
        ChecklistError: the tables say something that is not allowed.
    """
    faults: list[ChecklistError] = []
    overrides = read_overrides(environ or {}, faults)
    for name, table in document.items():
        _check_section(name, table, source, faults)
    values: dict[str, dict[str, Any]] = {}
    for section, of_section in keys().items():
        table = document.get(section, {})
        given = table if isinstance(table, Mapping) else {}
        values[section] = _check_keys(of_section, given, overrides, source, faults)
    if faults:
        raise as_one(faults)
    built: dict[str, Any] = {name: struct(**values[name]) for name, struct in sections().items()}
    checklist = Checklist(**built)
    broken = list(broken_rules(checklist))
    if broken:
        raise as_one([fault.at(_where(source, path, overrides)) for path, fault in broken])
    return checklist


def _read_toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, position = str(error), None
        found = re.fullmatch(r"(.*) \(at (.*)\)", what, re.DOTALL)
        if found is not None:
            what, position = found[1], found[2]
        where = f"{source}: {position}" if position else source
        raise ChecklistError(
            f"not TOML: {what[:1].lower()}{what[1:]}", where=where, next_step="Strings need quotes in TOML."
        ) from None
    except (ValueError, RecursionError, OverflowError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else "a value is out of every range"
        raise ChecklistError(f"not readable: {what}", where=source) from None


def _check_section(name: str, table: Any, source: str, faults: list[ChecklistError]) -> None:
    where = f"{source}: ${step(name)}"
    if name not in keys():
        valid = ", ".join(f"[{section}]" for section in keys())
        inside = list(table) if isinstance(table, Mapping) else []
        kind = "unknown section" if isinstance(table, Mapping) else "unknown key outside of any section"
        faults.append(
            ChecklistError(
                kind, where=where, expected=f"one of {valid}", next_step=hint_for_section(name, inside)
            )
        )
        return
    if not isinstance(table, Mapping):
        faults.append(
            ChecklistError("wrong type", where=where, expected=f"a section [{name}]", received=shown(table))
        )
        return
    faults.extend(
        ChecklistError(
            "unknown key",
            where=where + step(key),
            expected=f"one of {', '.join(keys()[name])}",
            next_step=hint_for_key(key, name),
        )
        for key in table
        if key not in keys()[name]
    )


def _check_keys(
    of_section: Mapping[str, Key],
    given: Mapping[str, Any],
    overrides: Mapping[str, tuple[Key, Any]],
    source: str,
    faults: list[ChecklistError],
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, key in of_section.items():
        where = f"{source}: $.{key.path}"

        def report(path: str, fault: ChecklistError, where: str = where) -> None:
            faults.append(fault.at(where + path))

        if name in given:
            values[name] = check_value(given[name], key.type, report, secret=key.secret)
        if key.path in overrides:
            values[name] = overrides[key.path][1]
        if name not in values:
            if key.required:
                faults.append(
                    ChecklistError(
                        "missing",
                        where=where,
                        expected=_of_what(key.description),
                        next_step="It has no default.",
                    )
                )
            values[name] = key.default
    return values


def _where(source: str, path: str, overrides: Mapping[str, tuple[Key, Any]]) -> str:
    if path in overrides:
        return f"{source}: $.{path} (set by {overrides[path][0].variable})"
    return f"{source}: $.{path}"


def _of_what(description: str) -> str:
    """A description as part of a sentence: `The name. Required.` becomes `the name`."""
    text = description.removesuffix(" Required.").rstrip(".")
    return text[:1].lower() + text[1:]
