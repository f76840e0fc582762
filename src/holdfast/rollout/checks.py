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


def require_check(registry: Registry, version: str, checklist_hash: str, waived: str) -> None:
    """Let a version pass that has a passed check, or for which somebody gave a reason.

    Raises:
        UncheckedError: neither.
    """
    lacks = what_lacks(registry, version, checklist_hash)
    if lacks is not None and not waived:
        raise UncheckedError(
            f"version {version} is not ready: {lacks}",
            expected='evidence of kind "check" with verdict "pass"',
            next_step=(
                f"Run `holdfast check --version {version}`, or say why not with --waive REASON, which stays "
                "in the audit"
            ),
        )


def confirm(
    deployment: Deployment, registry: Registry, version: str, *, reason: str, waive: str, actor: str
) -> None:
    """Make a version the champion by hand, or confirm a first deployment that answers already.

    Raises:
        UncheckedError: its check has failed, and nobody has waived it.
        UnknownVersionError: it is not registered.
    """
    registry.version(version)
    lacks = what_lacks(registry, version, deployment.checklist_hash)
    if lacks is not None and lacks.endswith("fail") and not waive:
        require_check(registry, version, deployment.checklist_hash, waive)
    noted = reason if lacks is None else f"{reason} ({lacks}{f'; waived: {waive}' if waive else ''})"
    rollout = registry.rollouts.open()
    if rollout is not None and rollout.kind == "first" and rollout.challenger == version:
        registry.rollouts.end(rollout.number, "promoted", reason=noted, actor=actor)
    registry.promote(version, reason=noted, actor=actor, checklist_hash=deployment.checklist_hash)
