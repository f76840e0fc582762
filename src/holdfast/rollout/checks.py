"""Whether `holdfast check` has passed for a version, under the checklist in force."""

from __future__ import annotations

from holdfast.registry import Registry
from holdfast.rollout.errors import UncheckedError
from holdfast.spec import Deployment

CHECK = "check"
"""Kind of the evidence."""


def what_lacks(registry: Registry, version: str, checklist_hash: str) -> str | None:
    """In words why a version has no passed check; None: it has."""
    found = registry.evidence(version, CHECK, limit=1)
    if not found:
        return "it was never checked"
    payload = found[0].payload
    verdict = payload.get("verdict")
    if payload.get("checklist_hash") != checklist_hash:
        return f"its check ({verdict}) was of another checklist"
    return None if verdict == "pass" else f"its check says {verdict}"


def require_check(registry: Registry, version: str, checklist_hash: str, waived: str) -> str | None:
    """Let a version pass that has a passed check, or for which somebody gave a reason.

    Returns:
        What it lacks, waived; None: nothing.

    Raises:
        UncheckedError: neither.
    """
    lacks = what_lacks(registry, version, checklist_hash)
    if lacks is not None and not waived.strip():
        raise UncheckedError(
            f"version {version} is not ready: {lacks}",
            expected='evidence of kind "check" with verdict "pass"',
            next_step=(
                f"Run `holdfast check --version {version}`, or say why not with --waive REASON, which stays "
                "in the audit"
            ),
        )
    return lacks


def confirm(
    deployment: Deployment, registry: Registry, version: str, *, reason: str, waive: str, actor: str
) -> None:
    """Make a version the champion by hand, or confirm a first deployment that answers already.

    A rollout of the version that is open has asked for the check, under the checklist of its start: that one
    counts, and so does its waiver.

    Raises:
        UncheckedError: it has no passed check of the checklist in force, and nobody has waived it.
        UnknownVersionError: it is not registered.
    """
    registry.version(version)
    rollout = registry.rollouts.open()
    mine = rollout if rollout is not None and rollout.challenger == version else None
    asked = deployment.checklist_hash if mine is None else mine.checklist_hash
    waived = waive or ("" if mine is None else mine.waived)
    lacks = require_check(registry, version, asked, waived)
    noted = reason if lacks is None else f"{reason} ({lacks}; waived: {waived})"
    if mine is not None and mine.kind == "first":
        registry.rollouts.end(mine.number, "promoted", reason=noted, actor=actor)
    registry.promote(version, reason=noted, actor=actor, checklist_hash=deployment.checklist_hash)
