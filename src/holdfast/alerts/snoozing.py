"""Whether people have asked for silence about a version's diagnosis."""

from __future__ import annotations

from typing import Final

from holdfast.registry import Registry

SNOOZE: Final = "diagnosis.snooze"
"""The act in the audit; its target is the version, its detail says until when."""
_NEWEST: Final = 50


def snoozed_until_us(registry: Registry, version: str, now_us: int) -> int | None:
    """Until when the version's diagnosis is snoozed; None if it is not. The newest snooze counts."""
    for entry in reversed(registry.audit.entries(_NEWEST, begins=SNOOZE)):
        if entry.target == version:
            until_us = entry.detail.get("until_us")
            return until_us if isinstance(until_us, int) and until_us > now_us else None
    return None
