"""The diagnosis page and the versions page: what was found, what was decided, and what came of it."""

from __future__ import annotations

import msgspec

from holdfast.monitor import History
from holdfast.registry import Decision, Evidence, ModelVersion, RouteTable
from holdfast.stats import Estimate
from holdfast.ui.facts import CHECK, COMPARISON, DIAGNOSIS, Facts, StoredDiagnosis
from holdfast.ui.remarks import Remark, remarks, snoozed_until_us

_CHANGES_SHOWN = 20
_SHOWN_ALREADY = frozenset({DIAGNOSIS, COMPARISON, CHECK})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, and the newest diagnosis of the version that it made the champion."""

    decision: Decision
    verdict: str | None
    metric: str
    quality: Estimate | None
    """Of that version since then, on labelled rows."""
    previous_quality: Estimate | None
    """Of the version before, at its last diagnosis."""


class DiagnosisPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the diagnosis page."""

    champion: str | None
    stored: StoredDiagnosis | None
    history: History | None
    earlier: tuple[StoredDiagnosis, ...]
    """Before this one, whenever the verdict changed; newest first."""
    outcomes: tuple[Outcome, ...]
    remarks: tuple[Remark, ...]
    snoozed_until_us: int | None


class VersionCard(msgspec.Struct, frozen=True, kw_only=True):
    """One version with its evidence."""

    version: ModelVersion
    comparison: Evidence | None
    """Against the champion of its time."""
    stored: StoredDiagnosis | None
    other: tuple[Evidence, ...]
    """The newest of each further kind."""


class VersionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the versions page."""

    route: RouteTable
    cards: tuple[VersionCard, ...]
    """The champion first, then the newest."""
    decisions: tuple[Decision, ...]
    can_roll_back: bool


def make_diagnosis(facts: Facts) -> DiagnosisPage:
    """Read the diagnosis page."""
    champion = facts.champion()
    every = facts.diagnoses(champion, _CHANGES_SHOWN)
    said = remarks(facts.registry, champion)
    changes = [
        one
        for one, after in zip(every[1:], every, strict=False)
        if one.diagnosis.verdict != after.diagnosis.verdict
    ]
    return DiagnosisPage(
        champion=champion,
        stored=every[0] if every else None,
        history=facts.history(champion),
        earlier=tuple(changes),
        outcomes=tuple(outcomes(facts)),
        remarks=tuple(said),
        snoozed_until_us=snoozed_until_us(said, facts.clock.now_us()),
    )


def outcomes(facts: Facts) -> list[Outcome]:
    """What came of each decision, newest first."""
    known: dict[str, StoredDiagnosis | None] = {}

    def newest(version: str | None) -> StoredDiagnosis | None:
        if version is None:
            return None
        if version not in known:
            known[version] = facts.diagnosis(version)
        return known[version]

    found = []
    for decision in reversed(facts.registry.decisions()[-_CHANGES_SHOWN:]):
        stored = newest(decision.version)
        now = None if stored is None else stored.diagnosis
        found.append(
            Outcome(
                decision=decision,
                verdict=None if now is None else now.verdict,
                metric="" if now is None or now.quality is None else now.quality.metric,
                quality=_latest_quality(stored),
                previous_quality=_latest_quality(newest(decision.previous)),
            )
        )
    return found


def _latest_quality(stored: StoredDiagnosis | None) -> Estimate | None:
    if stored is None or stored.diagnosis.quality is None:
        return None
    return stored.diagnosis.quality.after or stored.diagnosis.quality.before


def make_versions(facts: Facts) -> VersionsPage:
    """Read the versions page."""
    registry = facts.registry
    route, decisions = registry.route(), registry.decisions()
    versions = sorted(registry.versions(), key=lambda one: (one.version != route.champion, -int(one.version)))
    return VersionsPage(
        route=route,
        cards=tuple(_card(facts, version) for version in versions),
        decisions=tuple(reversed(decisions)),
        can_roll_back=registry.can_roll_back(),
    )


def _card(facts: Facts, version: ModelVersion) -> VersionCard:
    other = [
        found
        for kind in facts.registry.evidence_kinds(version.version)
        if kind not in _SHOWN_ALREADY and (found := facts.newest(kind, version.version)) is not None
    ]
    return VersionCard(
        version=version,
        comparison=facts.newest(COMPARISON, version.version),
        stored=facts.diagnosis(version.version),
        other=tuple(other),
    )
