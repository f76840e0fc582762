"""The first page: one sentence, then the numbers of the service."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from holdfast.monitor import Diagnosis
from holdfast.prediction_log import Account
from holdfast.registry import Decision, Delivery
from holdfast.ui.facts import Facts, StoredDiagnosis
from holdfast.ui.remarks import Remark, remarks
from holdfast.ui.traffic import Traffic, TrafficWatch

State = Literal["no champion", "not judged", "too early", "healthy", "alarm"]
_RECENT_DECISIONS = 5
_RECENT_ALERTS = 4


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The sentence on top, in parts."""

    state: State
    verdict: str
    quiet_days: float | None = None
    """Days since the last window in alarm, or since the first window."""
    snoozed_until_us: int | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    name: str
    headline: Headline
    champion: str | None
    stored: StoredDiagnosis | None
    traffic: Traffic | None
    account: Account | None
    p99_target_s: float
    qps_target: float
    logging: bool
    decisions: tuple[Decision, ...]
    remarks: tuple[Remark, ...]
    alerts: Alerts


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """What people were told of alarms."""

    named: bool
    """Whether the checklist names a channel, so that anybody is told at all."""
    sent: int
    waiting: int
    given_up: int
    newest: tuple[Delivery, ...]
    """Newest first."""


def make_overview(facts: Facts, watch: TrafficWatch) -> Overview:
    """Read what the first page shows."""
    champion = facts.champion()
    stored = facts.diagnosis(champion)
    said = remarks(facts.registry, champion)
    checklist = facts.deployment.checklist
    return Overview(
        name=facts.deployment.name,
        headline=headline(champion, stored, facts.snoozed_until_us(champion)),
        champion=champion,
        stored=stored,
        traffic=watch.look(),
        account=facts.account(),
        p99_target_s=checklist.speed.p99_ms / 1000,
        qps_target=checklist.speed.qps,
        logging=checklist.logging.enabled,
        decisions=tuple(facts.registry.decisions()[: -_RECENT_DECISIONS - 1 : -1]),
        remarks=tuple(said[:3]),
        alerts=_alerts(facts),
    )


def _alerts(facts: Facts) -> Alerts:
    outbox, settings = facts.registry.outbox, facts.deployment.checklist.alerts
    counts = outbox.counts()
    return Alerts(
        named=bool(settings.webhooks or settings.channels or settings.pagers),
        sent=counts["sent"],
        waiting=counts["waiting"],
        given_up=counts["given up"],
        newest=tuple(outbox.deliveries(_RECENT_ALERTS)),
    )


def headline(champion: str | None, stored: StoredDiagnosis | None, snoozed: int | None) -> Headline:
    """The state of the deployment in one word, and for how long it has been quiet."""
    if champion is None:
        return Headline(state="no champion", verdict="")
    if stored is None:
        return Headline(state="not judged", verdict="")
    diagnosis = stored.diagnosis
    if diagnosis.alarm:
        return Headline(state="alarm", verdict=diagnosis.verdict, snoozed_until_us=snoozed)
    if not diagnosis.windows:
        return Headline(state="too early", verdict=diagnosis.verdict)
    return Headline(state="healthy", verdict=diagnosis.verdict, quiet_days=quiet_days(diagnosis))


def quiet_days(diagnosis: Diagnosis) -> float | None:
    """Days of production time without a window in alarm, up to the last window; None without times."""
    windows = diagnosis.windows
    raised = [number for number, window in enumerate(windows) if window.alarm]
    first = raised[-1] + 1 if raised else 0
    if first >= len(windows):
        return None
    try:
        start = datetime.fromisoformat(windows[first].start)
        end = datetime.fromisoformat(windows[-1].end)
    except ValueError:
        return None
    return (end - start).total_seconds() / 86_400
