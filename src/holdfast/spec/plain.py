"""A checklist as plain values, and the hash that stands for it in every decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from holdfast.spec.checklist import Checklist
from holdfast.spec.keys import keys
from holdfast.spec.values import QUANTITIES


def plain_value(value: Any) -> Any:
    """As TOML and JSON write it: quantities as their text, sequences as lists."""
    if type(value) in QUANTITIES:
        return str(value)
    if isinstance(value, tuple | list):
        return [plain_value(each) for each in value]
    if isinstance(value, Mapping):
        return {name: plain_value(each) for name, each in value.items()}
    return value


def as_document(checklist: Checklist) -> dict[str, dict[str, Any]]:
    """Every key of every section, defaults included, in the order of the file; unset keys are None."""
    return {
        section: {name: plain_value(getattr(getattr(checklist, section), name)) for name in of_section}
        for section, of_section in keys().items()
    }


def as_answers(checklist: Checklist) -> dict[str, Any]:
    """The keys that differ from their defaults, by path: what `render_checklist` takes."""
    answers = {}
    for section, of_section in keys().items():
        for name, key in of_section.items():
            value = getattr(getattr(checklist, section), name)
            if value != key.default:
                answers[key.path] = plain_value(value)
    return answers


def checklist_hash(checklist: Checklist) -> str:
    """SHA-256, in hexadecimal, of the whole checklist as JSON: sorted names, no white space, only ASCII.

    Defaults are part of it: two files that mean the same have the same hash, whatever their order, comments
    and spelling of a number, and a version of holdfast with another default gives another hash.
    """
    text = json.dumps(as_document(checklist), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
