"""Tells people of alarms: once, on their channels, at least until one has taken it.

Above the registry, whose outbox holds what was told; below the rooms that raise alarms.
"""

from __future__ import annotations

from holdfast.alerts.alerting import Alerting
from holdfast.alerts.channels import Channel, channels_of
from holdfast.alerts.errors import AlertError, ChannelError
from holdfast.alerts.finding import Finding, Severity
from holdfast.alerts.log_alarms import LogAlarms, log_alarm
from holdfast.alerts.policy import Terms
from holdfast.alerts.sending import Sender, Sent
from holdfast.alerts.snoozing import snoozed_until_us

__all__ = [
    "AlertError",
    "Alerting",
    "Channel",
    "ChannelError",
    "Finding",
    "LogAlarms",
    "Sender",
    "Sent",
    "Severity",
    "Terms",
    "channels_of",
    "log_alarm",
    "snoozed_until_us",
]
