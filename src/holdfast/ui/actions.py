"""What people do from the pages: the same functions as the command line's, in the name of the viewer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from holdfast.clock import Clock
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.ui.errors import FormError
from holdfast.ui.facts import Facts
from holdfast.ui.remarks import remark
from holdfast.ui.session import Viewer

if TYPE_CHECKING:
    from holdfast.prediction_log import SpoolWriter

LONGEST_REASON: Final = 500


class Actions:
    """Acts on one deployment.

    Args:
        deployment: whose checklist's hash stands with each decision.
        registry: takes decisions and the audit.
        clock: of labels and remarks.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock) -> None:
        self._deployment = deployment
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._writer: SpoolWriter | None = None

    def remark(self, viewer: Viewer, fields: dict[str, str]) -> None:
        """Acknowledge, comment or snooze the diagnosis.

        Raises:
            FormError: a field cannot be.
        """
        hours, evidence = fields.get("hours", ""), fields.get("evidence", "")
        remark(
            self._registry,
            fields.get("act", ""),
            actor=viewer.name,
            version=fields.get("version", "")[:20],
            evidence=int(evidence) if evidence.isdecimal() and len(evidence) < 12 else 0,
            text=fields.get("text", ""),
            now_us=self._clock.now_us(),
            hours=int(hours) if hours.isdecimal() and len(hours) < 5 else None,
        )

    def promote(self, viewer: Viewer, fields: dict[str, str]) -> None:
        """Make a version the champion by hand, at once.

        Raises:
            FormError: there is no reason.
            UncheckedError: it has no passed check, and nobody has waived it.
            UnknownVersionError: there is no such version.
        """
        from holdfast.rollout import confirm

        confirm(
            self._deployment,
            self._registry,
            fields.get("version", ""),
            reason=_reason(fields),
            waive=fields.get("waive", "").strip()[:LONGEST_REASON],
            actor=viewer.name,
        )

    def hold(self, viewer: Viewer, fields: dict[str, str]) -> None:
        """Hold the open rollout, or let it go on.

        Raises:
            FormError: there is no reason, or no rollout is open.
        """
        rollouts = self._registry.rollouts
        rollout = rollouts.open()
        if rollout is None:
            raise FormError("no rollout is open", next_step="holdfast rollout start VERSION")
        act = rollouts.resume if fields.get("act") == "resume" else rollouts.hold
        act(rollout.number, reason=_reason(fields), actor=viewer.name)

    def roll_back(self, viewer: Viewer, fields: dict[str, str]) -> None:
        """Take the challenger of the open rollout away; without one, go back to the champion before.

        Raises:
            FormError: there is no reason.
            RegistryError: there was none before.
        """
        rollout, reason = self._registry.rollouts.open(), _reason(fields)
        if rollout is not None:
            self._registry.rollouts.end(rollout.number, "rolled back", reason=reason, actor=viewer.name)
            return
        self._registry.rollback(
            reason=reason, actor=viewer.name, checklist_hash=self._deployment.checklist_hash
        )

    def label(self, viewer: Viewer, fields: dict[str, str]) -> None:
        """Add a label from the review queue; it is in the log when the keeper has passed, within a second.

        Raises:
            FormError: the label is no class of the champion, or no number.
        """
        from holdfast.prediction_log import Label, LabelDoor, SpoolWriter

        prediction_id, text = fields.get("prediction_id", ""), fields.get("label", "").strip()
        if not prediction_id or len(prediction_id) > 200:
            raise FormError("no prediction", where="prediction_id")
        value = self._as_label(text)
        self._registry.audit.add(actor=viewer.name, action="label.review", detail={"labels": 1})
        with self._lock:
            if self._writer is None:
                self._writer = SpoolWriter(
                    self._deployment.log_folder,
                    deployment=self._deployment.name,
                    replica="review",
                    clock=self._clock,
                    durability="synced",
                )
            LabelDoor(self._writer).append([Label(prediction_id, value, self._clock.now_us())])
            self._writer.sync()

    def close(self) -> None:
        """Close what labels are written to."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _as_label(self, text: str) -> str | int | float:
        from holdfast.ui.rows import signature_of

        champion = self._registry.route().champion
        if champion is None:
            raise FormError(
                "there is no champion whose predictions could be labelled",
                next_step="holdfast register MODEL --reference FILE",
            )
        signature = signature_of(Facts(self._deployment, self._registry, self._clock), champion)
        return label_of(text, signature.classes)


def label_of(text: str, classes: Sequence[str | int]) -> str | int | float:
    """What somebody has typed as the true class, or as the true number where there are no classes.

    Raises:
        FormError: it is none.
    """
    from holdfast.prediction_log import is_number

    for name in classes:
        if str(name) == text:
            return name
    if classes:
        expected = ", ".join(map(str, classes[:20]))
        raise FormError("no class of the model", where="label", expected=expected, received=text[:40])
    if not is_number(text):
        raise FormError("not a number", where="label", received=text[:40])
    return float(text)


def _reason(fields: dict[str, str]) -> str:
    reason = fields.get("reason", "").strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise FormError(
            "a decision needs a reason" if not reason else "the reason is too long",
            where="reason",
            expected=f"1 to {LONGEST_REASON} characters; it stands in the audit for ever",
        )
    return reason
