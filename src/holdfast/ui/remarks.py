"""What people said about a diagnosis: acknowledged, commented, snoozed. Each is an entry of the audit."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from holdfast.registry import AuditEntry, Registry
from holdfast.ui.errors import FormError

Act = Literal["acknowledge", "comment", "snooze"]
ACTS: Final[tuple[Act, ...]] = get_args(Act)
PREFIX: Final = "diagnosis."
LONGEST_TEXT: Final = 2000
LONGEST_SNOOZE_HOURS: Final = 24 * 30
_MOST_SHOWN: Final = 50


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    act: str
    actor: str
    at_us: int
    version: str
    text: str
    evidence: int
    """Of the diagnosis that was on the page."""
    until_us: int | None = None
    """Of a snooze."""


def remark(
    registry: Registry,
    act: str,
    *,
    actor: str,
    version: str,
    evidence: int,
    text: str,
    now_us: int,
    hours: int | None = None,
) -> None:
    """Enter one in the audit.

    Raises:
        FormError: the act, the text or the hours cannot be.
    """
    if act not in ACTS:
        raise FormError("no such act", expected=", ".join(ACTS), received=act[:40])
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        raise FormError(
            "the text is too long", expected=f"at most {LONGEST_TEXT} characters", received=str(len(text))
        )
    if act == "comment" and not text:
        raise FormError(
            "a comment needs words", where="text", next_step="Write what the next reader should know"
        )
    detail: dict[str, object] = {"text": text, "evidence": evidence}
    if act == "snooze":
        if hours is None or not 1 <= hours <= LONGEST_SNOOZE_HOURS:
            raise FormError("not a time to snooze", where="hours", expected=f"1 to {LONGEST_SNOOZE_HOURS}")
        detail["until_us"] = now_us + hours * 3_600_000_000
    registry.audit.add(actor=actor, action=PREFIX + act, target=version, detail=detail)


def remarks(registry: Registry, version: str | None = None) -> list[Remark]:
    """The newest first, of one version or all."""
    found = [_remark(entry) for entry in registry.audit.entries(_MOST_SHOWN, begins=PREFIX)]
    return [one for one in reversed(found) if version is None or one.version == version]


def _remark(entry: AuditEntry) -> Remark:
    detail = entry.detail
    return Remark(
        act=entry.action.removeprefix(PREFIX),
        actor=entry.actor,
        at_us=entry.at_us,
        version=entry.target,
        text=str(detail.get("text", "")),
        evidence=int(detail.get("evidence", 0)),
        until_us=detail.get("until_us"),
    )
