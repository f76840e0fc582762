"""The alarm of the prediction log: rows of which nothing is known."""

from __future__ import annotations

from typing import Final

from holdfast.alerts.alerting import Alerting
from holdfast.alerts.finding import Finding
from holdfast.clock import iso_utc
from holdfast.errors import HoldfastError
from holdfast.prediction_log import Account

SOURCE: Final = "log"


def log_alarm(alerting: Alerting, account: Account) -> bool:
    """Say what an account of the log says; call it with each.

    Returns:
        Whether a message was written. A registry that cannot be written now is met again with the next
        account: no row of the log waits for it.
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
