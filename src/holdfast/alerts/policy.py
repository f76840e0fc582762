"""Whether a finding is told: pure decisions on what stands and what was told."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from holdfast.alerts.finding import Finding, Severity
from holdfast.alerts.quiet_hours import QuietHours, read_quiet_hours
from holdfast.clock import iso_utc
from holdfast.registry import Alarm, Change
from holdfast.spec import Deployment


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the checklist says about telling."""

    deployment: str
    quiet_us: int
    channels: tuple[str, ...]
    """Names of those that are told of everything."""
    pagers: tuple[str, ...]
    """Names of those that are told of critical alarms alone."""
    kinds: frozenset[str]
    """Empty: all."""
    columns: frozenset[str]
    """Empty: all."""
    quiet_hours: QuietHours | None
    dashboard: str

    @classmethod
    def of(cls, deployment: Deployment, channels: tuple[str, ...], pagers: tuple[str, ...]) -> Self:
        """Of the deployment's `[alerts]`; the channels go by their names."""
        alerts = deployment.checklist.alerts
        return cls(
            deployment=deployment.name,
            quiet_us=alerts.quiet.microseconds,
            channels=channels,
            pagers=pagers,
            kinds=frozenset(alerts.kinds),
            columns=frozenset(alerts.columns),
            quiet_hours=read_quiet_hours(alerts.quiet_hours, alerts.time_zone),
            dashboard=alerts.dashboard.rstrip("/"),
        )

    def in_scope(self, finding: Finding) -> Finding | None:
        """The finding without topics that nobody wants to hear of; None where nothing is left."""
        topics = tuple(
            topic for topic in finding.topics if not self.kinds or topic.partition(":")[0] in self.kinds
        )
        about = [topic.partition(":")[2] for topic in topics]
        named = tuple(dict.fromkeys([*finding.columns, *(name for name in about if name)]))
        if self.columns and named and not self.columns & set(named):
            return None
        return msgspec.structs.replace(finding, topics=topics) if topics else None

    def told(self, severity: Severity, *, was_critical: bool) -> tuple[str, ...]:
        """Names of the channels for a message; a pager that woke somebody also says that it is over."""
        return self.channels + (self.pagers if severity == "critical" or was_critical else ())

    def due_us(self, severity: Severity, now_us: int) -> int:
        """When a message may be sent."""
        if severity == "critical" or self.quiet_hours is None:
            return now_us
        return self.quiet_hours.over_us(now_us)


CRITICAL = "critical"
"""Topic that stands beside the others once an alarm was critical."""


def on_finding(terms: Terms, finding: Finding, alarm: Alarm | None, now_us: int) -> Change | None:
    """What becomes of a source's newest alarm when it stands: told if it is new, wider, or due again.

    Args:
        terms: of the checklist.
        finding: in scope.
        alarm: the newest of its source.
        now_us: the time.
    """
    topics = set(finding.topics) | ({CRITICAL} if finding.severity == "critical" else set())
    key = f"{terms.deployment}/{finding.source}/{finding.since}"
    kind = "alarm"
    if alarm is not None and (alarm.closed_at_us is None or alarm.key == key):
        key = alarm.key
        wider = not topics <= set(alarm.topics)
        rested = alarm.told_at_us is None or now_us - alarm.told_at_us >= terms.quiet_us
        if not wider and not rested:
            if alarm.closed_at_us is None:
                return None
            return Change(key=key, topics=alarm.topics)
        kind = "alarm" if wider or alarm.closed_at_us is not None else "reminder"
        topics |= set(alarm.topics)
    severity = finding.severity
    return Change(
        key=key,
        topics=tuple(sorted(topics)),
        content=content(terms, finding, key, kind, now_us),
        channels=terms.told(severity, was_critical=False),
        due_at_us=terms.due_us(severity, now_us),
    )


def on_end(terms: Terms, source: str, sentence: str, alarm: Alarm | None, now_us: int) -> Change | None:
    """What becomes of it when it stands no more."""
    if alarm is None or alarm.closed_at_us is not None:
        return None
    finding = Finding(
        source=source,
        topics=tuple(topic for topic in alarm.topics if topic != CRITICAL),
        since=alarm.key.rpartition("/")[2],
        severity="good news",
        title="the alarm is over",
        sentence=sentence,
    )
    was_critical = CRITICAL in alarm.topics
    return Change(
        key=alarm.key,
        topics=alarm.topics,
        closed=True,
        content=content(terms, finding, alarm.key, "resolved", now_us),
        channels=terms.told("good news", was_critical=was_critical),
        due_at_us=terms.due_us("good news", now_us),
    )


def content(terms: Terms, finding: Finding, key: str, kind: str, now_us: int) -> dict[str, Any]:
    """The message as JSON: what a webhook receives, but for its `id`."""
    return {
        "kind": kind,
        "deployment": terms.deployment,
        "source": finding.source,
        "key": key,
        "severity": finding.severity,
        "what": [topic for topic in finding.topics if topic != CRITICAL],
        "columns": list(finding.columns),
        "since": finding.since,
        "title": f"{terms.deployment}: {finding.title}",
        "sentence": finding.sentence,
        "cost": finding.cost,
        "advice": list(finding.advice),
        "model_version": finding.version,
        "url": f"{terms.dashboard}/{finding.page}" if terms.dashboard else "",
        "at": iso_utc(now_us),
    }
