"""Alarms of the prediction log: rows of which nothing is known, rows lost, and a keeper that cannot work."""

from __future__ import annotations

from typing import Final

from holdfast.alerts.alerting import Alerting
from holdfast.alerts.finding import Finding
from holdfast.clock import Clock, iso_utc
from holdfast.errors import HoldfastError
from holdfast.prediction_log import Account

SOURCE: Final = "log"
DROPPED_SOURCE: Final = "log-dropped"
KEEPER_SOURCE: Final = "log-keeper"
_FAILED_PASSES: Final = 5
"""In a row: with growing pauses about half a minute, so that what passes by itself tells nobody."""


class LogAlarms:
    """What the keeper's accounts and failures say to people; call each method whenever there is news.

    A registry that cannot be written now is met again with the next news: no row of the log waits for it.

    Args:
        alerting: of the deployment.
        clock: for since when a keeper fails.
    """

    def __init__(self, alerting: Alerting, clock: Clock) -> None:
        self._alerting = alerting
        self._clock = clock
        self._dropped: int | None = None
        """Rows of which it has been said that they are lost; None before the first account."""
        self._failing_since_us = 0
        self._end_unsaid = True
        """Whether the keeper works and that is not said yet: an alarm may stand from before a restart."""

    def on_account(self, account: Account) -> None:
        """Rows that are unaccounted for, and rows dropped since the account before.

        Accounts are taken after passes that went well.
        """
        log_alarm(self._alerting, account)
        if self._end_unsaid:
            self.on_failure(0, None)
        try:
            if self._dropped is not None:
                _say_dropped(self._alerting, account, account.dropped - self._dropped)
        except HoldfastError:
            return
        self._dropped = account.dropped

    def on_failure(self, failed_passes: int, error: Exception | None) -> None:
        """Passes of the keeper that failed in a row; 0: one went well."""
        if failed_passes == 1:
            self._failing_since_us = self._clock.now_us()
        self._end_unsaid = failed_passes == 0
        try:
            if failed_passes == 0:
                self._alerting.ended(KEEPER_SOURCE, "The keeper moves rows into the tables again.")
                self._end_unsaid = False
            elif failed_passes >= _FAILED_PASSES:
                self._alerting.stands(_keeper_finding(error, iso_utc(self._failing_since_us)))
        except HoldfastError:
            return


def _keeper_finding(error: Exception | None, since: str) -> Finding:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Finding(
        source=KEEPER_SOURCE,
        topics=("log",),
        since=since,
        severity="critical",
        title="the keeper of the prediction log fails",
        sentence=f"Rows stay in the spool and do not reach the tables: {reason}. Nothing is lost as long as "
        "the disk of the spool has room.",
        advice=("Free space, or mend what the keeper's output names; it goes on by itself.",),
        page="predictions",
    )


def _say_dropped(alerting: Alerting, account: Account, fresh: int) -> None:
    """That rows could not be written since the account before, or that none is lost any more."""
    if fresh <= 0:
        alerting.ended(DROPPED_SOURCE, "Rows are written to the prediction log again.")
        return
    alerting.stands(
        Finding(
            source=DROPPED_SOURCE,
            topics=("log",),
            since=iso_utc(account.at_us),
            severity="critical",
            title=f"{fresh} predictions could not be logged",
            sentence=f"{fresh} rows were answered and could not be written to the log, {account.dropped} "
            "in all: they are lost to labels, monitoring and training.",
            advice=("Free space on the disk of the log, or refuse such requests: [logging] on_full.",),
            page="predictions",
        )
    )


def log_alarm(alerting: Alerting, account: Account) -> bool:
    """Say what an account of the log says of rows that are unaccounted for.

    Returns:
        Whether a message was written.
    """
    try:
        if account.unaccounted == 0:
            return alerting.ended(SOURCE, "Every row of the prediction log is accounted for again.")
        return alerting.stands(
            Finding(
                source=SOURCE,
                topics=("log",),
                since=iso_utc(account.at_us),
                severity="critical",
                title=f"{account.unaccounted} predictions are unaccounted for",
                sentence=(
                    f"{account.unaccounted} of {account.served} rows that were served are neither stored nor "
                    "known to have been sampled out, dropped, expired or erased."
                ),
                advice=("`holdfast log verify` names them; look for a lost disk or a deleted spool.",),
                page="predictions",
            )
        )
    except HoldfastError:
        return False
