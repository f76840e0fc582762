"""Judging again and again, whatever the disk or the log do meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final

from holdfast.clock import Clock
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.errors import MonitorError

_log: Final = logging.getLogger("holdfast.monitor")
FOLLOW_INTERVAL_S: Final = 10.0
"""How often it is looked for newly closed windows and labels: far more often than windows close."""
LARGEST_DUTY: Final = 0.1
"""Share of the time that may go by in judging: on a large log it is looked less often, not harder."""


def follow(look: Callable[[], Diagnosis], clock: Clock, stop: threading.Event) -> Iterator[Diagnosis]:
    """Each diagnosis that says something new, until `stop` is set.

    A look that fails is made again: a full disk, a log that is being rewritten and a registry that is down
    come and go. What failed is logged when it is another failure than before, and when a look succeeds again.

    Args:
        look: judges once.
        clock: says how long a look took.
        stop: ends the following.
    """
    last: str | None = None
    failure = ""
    failed = 0
    while not stop.is_set():
        began_s = clock.monotonic_s()
        diagnosis: Diagnosis | None = None
        try:
            diagnosis = look()
        except MonitorError as error:
            # No champion yet, or one without a reference: a promotion may change that at any time.
            if str(error) != failure:
                failure = str(error)
                _log.warning("nothing is judged: %s", error)
        except Exception as error:  # noqa: BLE001 - the disk, Delta, SQL and Arrow have no common error
            failed += 1
            said = f"{type(error).__name__}: {error}"
            if said != failure:
                failure = said
                _log.exception("judging failed and is tried again")
        else:
            if failed:
                _log.warning("judging works again; it failed %d times", failed)
            failure, failed = "", 0
        if diagnosis is not None and diagnosis.to_json() != last:
            last = diagnosis.to_json()
            yield diagnosis
        spent_s = clock.monotonic_s() - began_s
        stop.wait(max(FOLLOW_INTERVAL_S, spent_s / LARGEST_DUTY))
