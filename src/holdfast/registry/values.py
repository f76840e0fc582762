"""What the registry hands out: plain frozen data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Action = Literal["promote", "rollback"]
Status = Literal["champion", "former champion", "registered"]


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One registered model; nothing of it changes but its status, which the route table decides."""

    version: str
    """`"1"`, `"2"`, ... in the order of registration."""
    name: str
    """Of the deployment."""
    sha256: str
    """Of the artifact; its folder is `artifacts/<first 32 digits>`."""
    created_at_us: int
    created_by: str
    status: Status
    metadata: dict[str, Any]
    """Where it came from, its reference in short, parity, quality, notes."""

    @property
    def artifact_folder(self) -> str:
        """Name of the folder under the deployment's artifacts folder."""
        return self.sha256[:32]

    @property
    def notes(self) -> tuple[str, ...]:
        """What registration did or noticed, in words."""
        return tuple(self.metadata.get("notes", ()))


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    champion: str | None
    generation: int
    """Grows by one with each change, so a reader sees at once that there was one."""
    changed_at_us: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit: a change of the route table."""

    generation: int
    """Of the route table that it made."""
    action: Action
    version: str
    """The champion after it."""
    previous: str | None
    """The champion before it."""
    actor: str
    reason: str
    at_us: int
    checklist_hash: str
    """Of the checklist in force; empty if the caller did not say."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A number or a finding about a model version, with whatever states its uncertainty."""

    id: int
    version: str
    kind: str
    payload: dict[str, Any]
    at_us: int
