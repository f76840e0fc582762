"""What the registry hands out: plain frozen data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Action = Literal["promote", "rollback"]
Status = Literal["champion", "challenger", "former champion", "registered"]
RolloutKind = Literal["first", "update"]
"""first: judged against what is in place today. update: judged against the champion."""
Phase = Literal["shadow", "canary", "promoted", "rolled back", "stopped", "expired"]
"""The last four are ends: by the gate or by hand, by the gate or by hand, by another change of the champion,
by the deadline."""
OPEN_PHASES: tuple[Phase, ...] = ("shadow", "canary")


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


class ChallengerRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What the challenger of the open rollout gets of the traffic."""

    version: str
    rollout: int
    mode: Literal["shadow", "canary"]
    """shadow: copies, whose answers no caller sees. canary: a share of the requests."""
    share: float
    """Of the requests, 0 to 1; 0 in shadow."""
    assignment_key: bytes
    """16 random bytes of this rollout: the hash under this key decides which arm answers."""

    def __repr__(self) -> str:
        return f"ChallengerRoute(version={self.version!r}, mode={self.mode!r}, share={self.share})"


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    champion: str | None
    generation: int
    """Grows by one with each change, so a reader sees at once that there was one."""
    changed_at_us: int
    challenger: ChallengerRoute | None = None
    """None where no rollout is open."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to make a version the champion, and where it stands."""

    number: int
    challenger: str
    champion: str | None
    """The version that it is compared with; None in a first deployment."""
    kind: RolloutKind
    baseline: dict[str, Any]
    """Of a first deployment: what is in place today, as `{"kind": "constant", "answer": ...}` or
    `{"kind": "answers", "file": ..., "sha256": ...}`; empty for an update."""
    phase: Phase
    share: float
    """Of the requests that the challenger answers, 0 to 1."""
    held: bool
    """By hand or by the policy; nothing moves forward until it is resumed by hand. It can still go back."""
    reason: str
    """Of the last step, in words."""
    checklist_hash: str
    waived: str
    """Why it goes on without a passed check or outside its update contract, in somebody's words; "": it
    does not."""
    started_at_us: int
    phase_at_us: int
    """Since when it is in this phase at this share."""
    deadline_us: int
    """Then it expires: without a decision the challenger never ships."""
    earliest_decision_us: int
    """Before this no label can approve it, as printed at the start."""
    ended_at_us: int | None
    report: dict[str, Any]
    """The newest evidence and plan: see `holdfast.rollout.Report`."""
    memory: dict[str, Any]
    """What the policy loop needs to go on after a restart."""


class RolloutStep(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a rollout, with the evidence that it was decided on."""

    rollout: int
    at_us: int
    action: str
    """`start`, `advance`, `hold`, `resume`, `promote`, `roll back`, `stop` or `expire`."""
    phase: Phase
    share: float
    actor: str
    reason: str
    report: dict[str, Any]


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
