"""Time as an argument: wall time for records, monotonic time for deadlines."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a component may ask about time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z; may jump when the machine's clock is set."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back. Deadlines and durations use only this."""

    def sleep_s(self, seconds: float) -> None:
        """Block for that long."""


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:  # noqa: D102 - the protocol documents it
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:  # noqa: D102 - as Clock says
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:  # noqa: D102 - as Clock says
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told, for tests and replays.

    Args:
        start_us: the first value of `now_us`, microseconds since the epoch.
    """

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us
        self._monotonic_s = 0.0

    def now_us(self) -> int:  # noqa: D102 - as Clock says
        return self._now_us

    def monotonic_s(self) -> float:  # noqa: D102 - as Clock says
        return self._monotonic_s

    def sleep_s(self, seconds: float) -> None:  # noqa: D102 - as Clock says
        self.advance_s(seconds)

    def advance_s(self, seconds: float) -> None:
        """Move both clocks forward by that many seconds (not negative)."""
        self._monotonic_s += seconds
        self._now_us += round(seconds * 1_000_000)


def iso_utc(time_us: int) -> str:
    """ISO 8601 text in UTC with microseconds, such as `2026-03-14T02:00:00.000000Z`."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, tz=UTC).replace(microsecond=time_us % 1_000_000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time_us(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 time; without an offset it is taken as UTC.

    Raises:
        ValueError: the text is no ISO 8601 date or time, or lies outside the years 1 to 9999 of UTC.
    """
    moment = datetime.fromisoformat(text)
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:  # nobody could write such a time down again
        raise ValueError("a time outside the years 1 to 9999 of UTC") from error
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
