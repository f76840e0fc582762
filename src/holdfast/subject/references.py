"""Stored references and the people whom their rows are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.files import sync_file
from holdfast.registry import (
    REFERENCE_FILE,
    ReferenceChange,
    Registry,
    file_sha256,
    note_certificate,
    note_dropped,
    note_erasure,
    reference_changes,
    rows_left,
)
from holdfast.spec import Deployment


class DropError(HoldfastError):
    """A reference cannot be dropped."""


def version_of(deployment: Deployment, registry: Registry, path: Path) -> str | None:
    """Whose reference a file is; None: of no registered version."""
    if path.name != REFERENCE_FILE or path.parent.parent != deployment.references_folder:
        return None
    known = {one.version for one in registry.versions()}
    return path.parent.name if path.parent.name in known else None


@dataclass(slots=True)
class Noting:
    """Writes down what an erasure does to references.

    Args:
        deployment: whose.
        registry: of the deployment.
        mark: keyed hash of a file's hash and the subject, by which the erasure knows its own changes.
    """

    deployment: Deployment
    registry: Registry
    mark: Callable[[str], str]

    def before_replacing(self, path: Path) -> Callable[[Path, int], None]:
        """What `remove_rows` calls before the new file takes the place of this one."""
        version = version_of(self.deployment, self.registry, path)

        def note(partial: Path, rows: int) -> None:
            if version is None:
                return
            before = file_sha256(path)
            change = ReferenceChange(
                rows=rows,
                sha256_before=before,
                sha256_after=file_sha256(partial),
                erasure=self.mark(before),
            )
            note_erasure(self.registry, version, change)

        return note

    def certify(self, certificate: str) -> None:
        """Name the certificate with this subject's changes, those of an interrupted erasure too."""
        for version in self.registry.versions():
            for change in reference_changes(self.registry, version.version):
                mine = change.erasure and change.erasure == self.mark(change.sha256_before)
                if mine and not change.certificate:
                    note_certificate(self.registry, version.version, change.erasure, certificate)


def drop_reference(
    deployment: Deployment,
    registry: Registry,
    version: str,
    *,
    reason: str,
    actor: str,
    even_champion: bool = False,
) -> int:
    """Remove the reference of a version, whose rows name nobody, so that none can be erased alone.

    Registered facts, evidence and the artifact stay; the monitor can compare nothing with this version any
    more. The record of the version and the audit say that it was dropped, and why.

    Args:
        deployment: whose.
        registry: of the deployment.
        version: whose reference.
        reason: for the audit.
        actor: who drops it.
        even_champion: also where the version answers, so that the monitor is blind from now on.

    Returns:
        Rows that were in it.

    Raises:
        DropError: there is none, or the version answers.
        UnknownVersionError: there is no such version.
    """
    found = registry.version(version)
    path = deployment.references_folder / found.version / REFERENCE_FILE
    if not path.is_file():
        raise DropError(f"version {found.version} has no reference", where=str(path))
    if registry.route().champion == found.version and not even_champion:
        raise DropError(
            f"version {found.version} is the champion: without its reference the monitor is blind",
            next_step=(
                "Register the model again with a reference that has the subject field and promote that, or "
                "repeat this with --champion"
            ),
        )
    rows = rows_left(registry, found)
    change = ReferenceChange(rows=rows, sha256_before=file_sha256(path), sha256_after="", reason=reason)
    note_dropped(registry, found.version, change, actor=actor)
    path.unlink()
    sync_file(path.parent)
    return rows
