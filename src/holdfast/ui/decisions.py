"""The diagnosis page and the versions page: what was found, what was decided, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from holdfast.monitor import History
from holdfast.registry import Decision, Evidence, ModelVersion, Rollout, RolloutStep, RouteTable
from holdfast.stats import Estimate
from holdfast.ui import words
from holdfast.ui.facts import CHECK, COMPARISON, DIAGNOSIS, Facts, StoredDiagnosis
from holdfast.ui.remarks import Remark, remarks

_CHANGES_SHOWN = 20
_DIAGNOSES_READ = 8
"""A diagnosis of hundreds of windows is 100 kB, and only those that changed the verdict are shown."""
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


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version in one line."""

    version: ModelVersion
    metric: str
    """Of the quality in production; "" where nothing is labelled."""
    quality: Estimate | None
    verdict: str | None
    """Of its newest diagnosis; None before the first."""


class VersionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the versions page."""

    route: RouteTable
    cards: tuple[VersionCard, ...]
    """Side by side: the champion, and the version that was chosen or else matters most."""
    others: tuple[VersionRow, ...]
    """Every version, newest first."""
    decisions: tuple[Decision, ...]
    can_roll_back: bool
    rollout: RolloutView | None
    """The open one, else the last."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger minus champion, with bounds that hold at all times."""

    name: str
    n: int
    mean: float | None
    lower: float
    upper: float


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the requests on the way of a rollout."""

    name: str
    state: Literal["done", "now", "ahead"]


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout with its evidence."""

    rollout: Rollout
    is_open: bool
    stages: tuple[Stage, ...]
    """That it goes through, in order."""
    margin: float
    """By so much of the loss the challenger may be worse at most."""
    steps: tuple[RolloutStep, ...]
    """Newest first."""
    bounds: tuple[Bounds, ...]
    """The newest of each comparison that is made."""
    narrowing: tuple[Bounds | None, ...]
    """Of the quality, at each step and now, oldest first."""
    says: str
    """What the policy would do now, and why."""


def make_diagnosis(facts: Facts) -> DiagnosisPage:
    """Read the diagnosis page."""
    champion = facts.champion()
    every = facts.diagnoses(champion, _DIAGNOSES_READ)
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
        snoozed_until_us=facts.snoozed_until_us(champion),
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


def make_versions(facts: Facts, chosen: str | None = None) -> VersionsPage:
    """Read the versions page.

    Args:
        facts: of the deployment.
        chosen: the version to show beside the champion; None: the challenger of the open or last rollout,
            else the newest.

    Raises:
        UnknownVersionError: there is no such version.
    """
    registry = facts.registry
    route, decisions = registry.route(), registry.decisions()
    versions = sorted(registry.versions(), key=lambda one: -int(one.version))
    champion = [one for one in versions if one.version == route.champion]
    if chosen is not None:
        beside = [one for one in (registry.version(chosen),) if one.version != route.champion]
    else:
        tried = [one.challenger for one in registry.rollouts.all()[-1:]]
        rest = [one for one in versions if one.version != route.champion]
        beside = sorted(rest, key=lambda one: one.version not in tried)[:1]
    return VersionsPage(
        route=route,
        cards=tuple(_card(facts, version) for version in (*champion, *beside)),
        others=tuple(_row(facts, version) for version in versions),
        decisions=tuple(reversed(decisions)),
        can_roll_back=registry.can_roll_back() or registry.rollouts.open() is not None,
        rollout=_rollout(facts),
    )


_COMPARED = ("quality", "arms", "flips", "volume", "score", "coverage")


def _rollout(facts: Facts) -> RolloutView | None:
    rollouts = facts.registry.rollouts
    shown = rollouts.open()
    is_open = shown is not None
    if shown is None:
        ended = rollouts.all()
        if not ended:
            return None
        shown = ended[-1]
    steps = rollouts.steps(shown.number)
    looks = [*(step.report for step in steps), shown.report]
    evidence = shown.report.get("evidence") or {}
    found = [_bounds(evidence.get(name)) for name in _COMPARED]
    found += [_bounds(one) for one in evidence.get("slices", ())]
    settings = facts.deployment.checklist.rollout
    return RolloutView(
        rollout=shown,
        is_open=is_open,
        stages=tuple(_stages(shown, settings.ramp, [step.share for step in steps])),
        margin=settings.margin,
        steps=tuple(reversed(steps)),
        bounds=tuple(one for one in found if one is not None),
        narrowing=tuple(_bounds((look.get("evidence") or {}).get("quality")) for look in looks),
        says=str((shown.report.get("plan") or {}).get("reason", "")),
    )


def _stages(rollout: Rollout, ramp: Sequence[float], shares: Sequence[float]) -> Iterator[Stage]:
    """Shadow, the ramp, and the end; what was reached before the end stays marked."""
    ended = rollout.ended_at_us is not None
    reached = max((*shares, rollout.share), default=0.0)
    for share in (0.0, *ramp):
        name = "shadow" if share == 0.0 else words.share(share, 0)
        if not ended and share == rollout.share:
            yield Stage(name=name, state="now")
        elif share < rollout.share or (ended and share <= reached):
            yield Stage(name=name, state="done")
        else:
            yield Stage(name=name, state="ahead")
    yield Stage(name=rollout.phase if ended else "decision", state="now" if ended else "ahead")


def _bounds(said: object) -> Bounds | None:
    """A comparison of the rollout's report; None where it is not made yet."""
    try:
        found = msgspec.convert(said, Bounds)
    except msgspec.ValidationError:
        return None
    return found if found.n and math.isfinite(found.lower) and math.isfinite(found.upper) else None


def _row(facts: Facts, version: ModelVersion) -> VersionRow:
    stored = facts.diagnosis(version.version)
    diagnosis = None if stored is None else stored.diagnosis
    return VersionRow(
        version=version,
        metric="" if diagnosis is None or diagnosis.quality is None else diagnosis.quality.metric,
        quality=_latest_quality(stored),
        verdict=None if diagnosis is None else diagnosis.verdict,
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
