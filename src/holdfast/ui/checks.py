"""The checklist page: what was asked, what was measured, and when it was last proven."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.clock import parse_time_us
from holdfast.registry import Evidence
from holdfast.spec import Deployment, as_answers, as_document
from holdfast.ui.facts import CHECK, Facts
from holdfast.ui.load import LoadView, make_load

_SECRET = {
    "security.api_key_hashes": "keys",
    "alerts.webhooks": "webhooks",
    "alerts.channels": "channels",
    "alerts.pagers": "pagers",
}
"""Keys of which only is said how many there are, and what to call them: an address may hold a password."""


class CheckLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a check."""

    line: str
    asked: Any = None
    measured: Any = None
    interval: Any = None
    verdict: str = "unknown"
    """`pass`, `fail` or `unknown`."""
    advice: str = ""
    at_us: int | None = None
    """When it was measured, where an earlier check did."""


class Answer(msgspec.Struct, frozen=True):
    """One key of the checklist with its value as text."""

    section: str
    key: str
    value: str
    is_default: bool


class ChecklistPage(msgspec.Struct, frozen=True, kw_only=True):
    """The page."""

    check: Evidence | None
    version: str | None
    lines: tuple[CheckLine, ...]
    same_checklist: bool
    """Whether the check was of the checklist in force."""
    checklist_hash: str
    answers: tuple[Answer, ...]
    load: LoadView | None
    """Latency against load, once it was searched."""


def make_checklist(facts: Facts) -> ChecklistPage:
    """Read the page: the newest check of the champion, else of any version."""
    champion = facts.champion()
    found = (None if champion is None else facts.newest(CHECK, champion)) or facts.newest(CHECK)
    lines: tuple[CheckLine, ...] = ()
    if found is not None:
        lines = tuple(_line(one) for one in found.payload.get("lines", ()) if isinstance(one, dict))
    deployment = facts.deployment
    return ChecklistPage(
        check=found,
        version=None if found is None else found.version,
        lines=tuple(sorted(lines, key=lambda one: ("fail", "unknown", "pass").index(one.verdict))),
        same_checklist=found is not None and found.payload.get("checklist_hash") == deployment.checklist_hash,
        checklist_hash=deployment.checklist_hash,
        answers=tuple(answers(deployment)),
        load=make_load(facts),
    )


def _line(said: dict[str, Any]) -> CheckLine:
    verdict = said.get("verdict")
    return CheckLine(
        line=str(said.get("line", "")),
        asked=said.get("asked"),
        measured=said.get("measured"),
        interval=said.get("interval"),
        verdict=verdict if verdict in {"pass", "fail"} else "unknown",
        advice=str(said.get("advice") or ""),
        at_us=parse_time_us(str(said["at"])) if said.get("at") else None,
    )


def answers(deployment: Deployment) -> list[Answer]:
    """Every key of the checklist; hashes of keys and addresses of channels are counted, not shown."""
    checklist = deployment.checklist
    mine = as_answers(checklist)
    return [
        Answer(
            section,
            key,
            f"{len(value)} {_SECRET[path]}" if (path := f"{section}.{key}") in _SECRET else _text(value),
            f"{section}.{key}" not in mine,
        )
        for section, keys in as_document(checklist).items()
        for key, value in keys.items()
    ]


def _text(value: Any) -> str:
    if value is None or value == "":
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode() if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
