"""Quantities with units as a checklist writes them: durations, windows, false-alarm budgets.

`str()` of each gives a text that `parse` reads back to the same value.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Self

import msgspec

_MICROSECONDS_PER_UNIT: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
LONGEST_US: Final = 36_525 * 86_400_000_000
"""A hundred years: far past any deployment, and every sum with a time of ours fits in 64 bits."""

# These are also the patterns of the JSON Schema, so they are written as ECMAScript reads them.
DURATION_PATTERN: Final = r"^([0-9]{1,15}(?:\.[0-9]{1,9})?) *(ms|s|min|h|d|w)$"
ROWS_PATTERN: Final = r"^([0-9]{1,12}) *rows$"
FALSE_ALARMS_PATTERN: Final = r"^([0-9]{1,9}(?:\.[0-9]{1,9})?) +per +([0-9]{1,9}) +windows$"


class Duration(msgspec.Struct, frozen=True, order=True):
    """A length of time, written such as `"14d"`, `"12h"`, `"30min"`, `"250ms"`; at most 100 years."""

    microseconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form, rounded to a microsecond.

        Raises:
            ValueError: the text is not a number followed by ms, s, min, h, d or w, or is over 100 years.
        """
        found = re.fullmatch(DURATION_PATTERN, text)
        if found is None:
            raise ValueError(f'a duration such as "14d", "12h", "30min" or "250ms", not {text!r}')
        microseconds = round(Decimal(found[1]) * _MICROSECONDS_PER_UNIT[found[2]])
        if microseconds > LONGEST_US:
            raise ValueError(f'a duration of at most 100 years ("36525d"), not {text!r}')
        return cls(microseconds)

    @property
    def seconds(self) -> float:
        """The same length in seconds."""
        return self.microseconds / 1_000_000

    def __str__(self) -> str:
        if self.microseconds == 0:
            return "0s"
        for unit in ("d", "h", "min", "s"):  # not weeks: people say 14 days
            unit_us = _MICROSECONDS_PER_UNIT[unit]
            if self.microseconds % unit_us == 0:
                return f"{self.microseconds // unit_us}{unit}"
        return f"{_plain(Decimal(self.microseconds) / 1000)}ms"


class WindowSize(msgspec.Struct, frozen=True):
    """A stretch of production: a duration (`"1d"`) or a number of predictions (`"1000 rows"`), never both."""

    duration: Duration | None = None
    rows: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form.

        Raises:
            ValueError: neither a duration nor a positive number of rows.
        """
        found = re.fullmatch(ROWS_PATTERN, text)
        if found is not None and int(found[1]) > 0:
            return cls(rows=int(found[1]))
        try:
            duration = Duration.parse(text)
        except ValueError:
            duration = Duration(0)
        if duration.microseconds == 0:
            raise ValueError(f'a window such as "1d", "6h", "15min" or "1000 rows", not {text!r}')
        return cls(duration=duration)

    def __str__(self) -> str:
        return f"{self.rows} rows" if self.duration is None else str(self.duration)


class FalseAlarmBudget(msgspec.Struct, frozen=True):
    """How many false alarms are accepted for the whole deployment: `"1 per 1000 windows"`."""

    alarms: float
    windows: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form.

        Raises:
            ValueError: not of the form `A per N windows`, or not 0 < A < N.
        """
        found = re.fullmatch(FALSE_ALARMS_PATTERN, text)
        if found is None or not 0 < float(found[1]) < int(found[2]):
            raise ValueError(f'a budget such as "1 per 1000 windows", not {text!r}')
        return cls(float(found[1]), int(found[2]))

    @property
    def average_run_length_windows(self) -> float:
        """The mean number of quiet windows between two false alarms that this budget allows."""
        return self.windows / self.alarms

    def __str__(self) -> str:
        return f"{_plain(Decimal(repr(self.alarms)))} per {self.windows} windows"


def _plain(number: Decimal) -> str:
    """Without an exponent and without trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
