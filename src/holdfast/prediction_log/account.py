"""The account of the log as the keeper last saw it, in a small file: for metrics and alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from holdfast.clock import Clock
from holdfast.prediction_log.folders import account_file

if TYPE_CHECKING:
    from holdfast.prediction_log.known_ranges import KnownRanges
    from holdfast.prediction_log.places import LogPlace
    from holdfast.prediction_log.schema import TableName

_log: Final = logging.getLogger("holdfast.keeper")
_EVERY_S: Final = 5.0
"""Small logs are counted in milliseconds, and people watch the count."""
_MOST_OF_THE_TIME: Final = 0.02
"""Share of its time that a keeper spends on the account of a large log; then it is taken less often."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of all process starts together, at one moment; see `Ledger`."""

    at_us: int
    served: int
    stored: int
    spooled: int
    sampled_out: int
    dropped: int
    expired: int
    erased: int
    labels_refused: int
    torn_records: int
    unaccounted: int
    coverage: float
    """Share of the rows served that can still be read."""

    @classmethod
    def of(cls, place: LogPlace, clock: Clock, known: dict[TableName, KnownRanges] | None = None) -> Self:
        """Taken now; about a second for 10 million rows, less what is known of earlier ones."""
        from holdfast.prediction_log.ledger import read_ledger

        ledger = read_ledger(place, known)
        names = [name for name in cls.__struct_fields__ if name != "at_us"]
        return cls(at_us=clock.now_us(), **{name: getattr(ledger, name) for name in names})


def read_account(log_folder: Path) -> Account | None:
    """The last account, or None before the first. Reads one small file."""
    try:
        return msgspec.json.decode(account_file(log_folder).read_bytes(), type=Account)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


class Accountant:
    """Takes the account now and then, and raises the alarm when rows are unaccounted for."""

    def __init__(
        self, place: LogPlace, clock: Clock, on_account: Callable[[Account], object] | None = None
    ) -> None:
        self._place = place
        self._clock = clock
        self._due_s = clock.monotonic_s()
        self._alarmed = 0
        self._on_account = on_account
        self._known: dict[TableName, KnownRanges] = {}

    def take_if_due(self) -> Account | None:
        """The account, if it is due: every five seconds, on a log that takes long to count less often."""
        began_s = self._clock.monotonic_s()
        if began_s < self._due_s:
            return None
        account = Account.of(self._place, self._clock, self._known)
        path = account_file(self._place.folder)
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(account))
        partial.replace(path)
        if account.unaccounted not in {0, self._alarmed}:
            _log.error("%d rows are unaccounted for: `holdfast log verify` names them", account.unaccounted)
        self._alarmed = account.unaccounted
        if self._on_account is not None:
            self._on_account(account)
        now_s = self._clock.monotonic_s()
        self._due_s = now_s + max(_EVERY_S, (now_s - began_s) / _MOST_OF_THE_TIME)
        return account
