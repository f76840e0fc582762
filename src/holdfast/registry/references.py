"""What happened to stored references since registration: rows erased, or the whole dropped.

The record of a version is only ever added to. What registration wrote down of a reference, its hash among it,
stays as it is; each change is evidence beside it with the hashes before and after: a file is right if the
chain leads to it. An erasure writes its change down before the file changes, and its certificate at its end.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from holdfast.registry.registry import Registry
from holdfast.registry.values import ModelVersion

REFERENCE_FILE: Final = "reference.parquet"
CHANGE: Final = "reference change"
CERTIFIED: Final = "reference change certified"
"""Kinds of evidence."""


class ReferenceChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a stored reference."""

    rows: int
    """Removed."""
    sha256_before: str
    sha256_after: str
    """Of the file; "": it is gone."""
    erasure: str = ""
    """Keyed hash of that hash and the subject, by which an erasure knows its own; "": dropped by hand."""
    reason: str = ""
    """Of who dropped it."""
    at_us: int = 0
    certificate: str = ""
    """Of the erasure; "": dropped by hand, or the erasure has not come to its end."""


def note_erasure(registry: Registry, version: str, change: ReferenceChange) -> None:
    """Write down that rows leave a reference, before they do; noted again, it is one change."""
    noted = {(one.erasure, one.sha256_after) for one in _changes(registry, version)[-1:]}
    if (change.erasure, change.sha256_after) not in noted:
        _attach(registry, version, change)


def note_certificate(registry: Registry, version: str, erasure: str, certificate: str) -> None:
    """Name the certificate of an erasure that changed the reference."""
    registry.attach_evidence(version, CERTIFIED, {"erasure": erasure, "certificate": certificate})


def note_dropped(registry: Registry, version: str, change: ReferenceChange, *, actor: str) -> None:
    """Write down, also in the audit, that a whole reference is removed."""
    _attach(registry, version, change)
    registry.audit.add(
        actor=actor,
        action="reference.drop",
        target=version,
        detail={"rows": change.rows, "sha256": change.sha256_before, "reason": change.reason},
    )


def reference_changes(registry: Registry, version: str) -> list[ReferenceChange]:
    """What happened to a version's reference since registration, oldest first."""
    certified = {
        one.payload["erasure"]: one.payload["certificate"] for one in registry.evidence(version, CERTIFIED)
    }
    return [
        msgspec.structs.replace(one, certificate=certified.get(one.erasure, ""))
        for one in _changes(registry, version)
    ]


def rows_left(registry: Registry, version: ModelVersion) -> int:
    """Rows of its reference that are there still."""
    registered = int(version.metadata.get("reference_rows", 0))
    return registered - sum(one.rows for one in _changes(registry, version.version))


def is_dropped(registry: Registry, version: str) -> bool:
    """Whether its reference was dropped, so that the same one may be registered again."""
    changes = _changes(registry, version)
    return bool(changes) and not changes[-1].sha256_after


def reference_fault(registry: Registry, version: ModelVersion, folder: Path) -> str | None:
    """What is wrong with a stored reference; None: it is what was registered, but for changes on record.

    Args:
        registry: that holds the changes.
        version: whose.
        folder: the deployment's references.
    """
    expected = str(version.metadata.get("reference_sha256", ""))
    changes = reference_changes(registry, version.version)
    for change in changes:
        if change.sha256_before != expected:
            return "it had been changed by nobody on record before rows were erased from it"
        expected = change.sha256_after
    path = folder / version.version / REFERENCE_FILE
    found = file_sha256(path) if path.is_file() else ""
    if found == expected:
        return None
    if changes and changes[-1].erasure and not changes[-1].certificate and found == changes[-1].sha256_before:
        return "an erasure was interrupted: repeat it"
    return "it is missing" if not found else "it is not what was registered"


def file_sha256(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attach(registry: Registry, version: str, change: ReferenceChange) -> None:
    payload = msgspec.to_builtins(change)
    registry.attach_evidence(version, CHANGE, {name: payload[name] for name in _STORED})


def _changes(registry: Registry, version: str) -> list[ReferenceChange]:
    found = sorted(registry.evidence(version, CHANGE), key=lambda one: one.id)
    return [msgspec.convert({**one.payload, "at_us": one.at_us}, ReferenceChange) for one in found]


_STORED: Final = ("rows", "sha256_before", "sha256_after", "erasure", "reason")
