"""How times are written: timestamps, text of several countries, and numbers since an epoch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from holdfast.artifact.arrow_types import is_number, is_text
from holdfast.artifact.errors import ReferenceDataError

if TYPE_CHECKING:
    import pyarrow as pa

Way = Literal["iso", "month", "d.m.y", "d/m/y", "m/d/y", "y/m/d", "yyyymmdd", "s", "ms", "us", "ns"]
_SAID: Final[Mapping[Way, str]] = {
    "d.m.y": "day.month.year",
    "d/m/y": "day/month/year",
    "m/d/y": "month/day/year",
    "y/m/d": "year/month/day",
    "month": "dates with the month's name",
    "yyyymmdd": "dates of eight digits, year first",
    "s": "seconds since 1970 in UTC",
    "ms": "milliseconds since 1970 in UTC",
    "us": "microseconds since 1970 in UTC",
    "ns": "nanoseconds since 1970 in UTC",
}
_PER_SECOND: Final[Mapping[Way, int]] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800
"""1990 and 2100: between them no number can be of two units."""
_DOTS: Final = r"^\d{1,2}\.\d{1,2}\.\d{4}(\D|$)"
_SLASHES: Final = r"^(?P<first>\d{1,2})[/-](?P<second>\d{1,2})[/-]\d{4}(?:\D|$)"
_YEAR_FIRST: Final = r"^\d{4}[/.年]\d{1,2}[/.月]\d{1,2}(\D|$)"
_DATES: Final[Mapping[Way, str]] = {
    "d.m.y": r"^(?P<a>\d{1,2})\.(?P<b>\d{1,2})\.(?P<c>\d{4})",
    "month": r"^(?P<a>\d{1,2})\.(?P<b>\d{1,2})\.(?P<c>\d{4})",
    "d/m/y": r"^(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<c>\d{4})",
    "m/d/y": r"^(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<c>\d{4})",
    "y/m/d": r"^(?P<a>\d{4})[/.年](?P<b>\d{1,2})[/.月](?P<c>\d{1,2})日?",
}
_CLOCK: Final = (
    r"(?:[ T,]+(?P<hour>\d{1,2})(?P<rest>(?::\d\d)?(?::\d\d)?(?:[.,]\d{1,9})?)"
    r"\s?(?P<half>[AaPp][Mm])?\s?(?P<zone>[Zz]|[+-]\d\d:?\d\d)?)?$"
)
_MONTH_NAMES: Final = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_WEEKDAY: Final = r"(?i)^(?:[a-z]{3,9},? +)?"
_ANY_MONTH: Final = "(?:" + "|".join(name[:3] for name in _MONTH_NAMES) + r")[a-z]{0,6}\.?"
_NAMED_MONTH: Final = (
    rf"{_WEEKDAY}(?:\d{{1,2}}[ .-]+{_ANY_MONTH}[ ,.-]+\d{{4}}|{_ANY_MONTH} +\d{{1,2}},? +\d{{4}})(?:\D|$)"
)
_EIGHT: Final = r"^(19|20)\d{6}$"
_EPOCH: Final = r"^\d{9,19}(\.\d+)?$"
_OFFSET: Final = r"([Zz]|[+-]\d\d(:?\d\d)?)$"
_FINER: Final = r"(:\d\d[.,]\d{6})\d{1,3}"
"""Nanoseconds, which pandas writes and no window is told apart by."""
_WITH_HOUR: Final = r"\d[T ]\d"
_MONTHS: Final = 12
EXPECTED: Final = (
    "timestamps, dates, text such as 2025-12-31 14:00, 31.12.2025 14:00 or 31-Dec-2025, or seconds, milli-, "
    "micro- or nanoseconds since 1970, in every row"
)


@dataclass(frozen=True, slots=True)
class Written:
    """How the times of one column are written."""

    way: Way

    @classmethod
    def of(cls, held: pa.ChunkedArray, where: str, other: pa.ChunkedArray | None = None) -> Written:
        """Found out from the values of a column.

        Args:
            held: of the column.
            where: as an error calls it.
            other: the same column of the other table, which may tell days from months where this does not.

        Raises:
            ReferenceDataError: it cannot be told, or the values are no times.
        """
        import pyarrow as pa

        held = plain_values(held)
        if pa.types.is_temporal(held.type) or not len(held):
            return cls("iso")
        if is_number(held.type):
            return cls(_of_numbers(held, where))
        if not is_text(held.type):
            raise no_times(where, str(held.type))
        return cls(_of_text(held, where, None if other is None else plain_values(other)))

    @property
    def said(self) -> str:
        """In words; empty where nobody could read it otherwise."""
        return _SAID.get(self.way, "")

    def complete(self, held: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        """Timestamps of microseconds of all rows, in UTC or without a zone.

        Raises:
            ReferenceDataError: a row has no time.
        """
        import pyarrow as pa

        if held.null_count:
            raise no_times(
                where,
                f"{held.null_count} of {len(held)} rows without a time",
                "Leave those rows out, or name another column",
            )
        try:
            return self._moments(plain_values(held), where)
        except pa.ArrowException as error:
            raise no_times(where, str(error)) from error

    def known(self, held: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        """The same in UTC, null where a row has none.

        Raises:
            ReferenceDataError: a row has something else.
        """
        import pyarrow as pa

        try:
            moments = self._moments(plain_values(held), where)
        except pa.ArrowException as error:
            raise no_times(where, str(error)) from error
        return moments.cast(pa.int64()).cast(pa.timestamp("us", "UTC"))

    def timestamps(self, held: pa.ChunkedArray) -> pa.ChunkedArray:
        """Times in UTC, null where there is none or it is written in another way."""
        import pyarrow as pa

        held = plain_values(held)
        try:
            found = self._moments(held, "")
        except (pa.ArrowException, ReferenceDataError):
            encoded = held.combine_chunks().dictionary_encode()
            if isinstance(encoded, pa.ChunkedArray):
                encoded = encoded.chunk(0)
            each = pa.array([self._one(value) for value in encoded.dictionary.to_pylist()], pa.int64())
            found = pa.chunked_array([each.take(encoded.indices).cast(pa.timestamp("us"))])
        return found.cast(pa.int64()).cast(pa.timestamp("us", "UTC"))

    def _one(self, value: Any) -> int | None:
        import pyarrow as pa

        try:
            moment = self._moments(pa.chunked_array([[value]]), "")
        except (pa.ArrowException, ReferenceDataError):
            return None
        number: int | None = moment.cast(pa.int64())[0].as_py()
        return number

    def _moments(self, held: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        """Timestamps of microseconds, in UTC or without a zone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_temporal(held.type):
            # Arrow keeps times in UTC whatever the zone shown.
            return held.cast(pa.timestamp("us", getattr(held.type, "tz", None)), safe=False)
        if self.way in _PER_SECOND:
            factor = 10**6 / _PER_SECOND[self.way]
            if pa.types.is_integer(held.type):
                whole = held.cast(pa.int64())
                scaled = pc.multiply(whole, int(factor)) if factor >= 1 else pc.divide(whole, int(1 / factor))
            else:
                scaled = pc.round(pc.multiply(held.cast(pa.float64()), factor)).cast(pa.int64())
            return scaled.cast(pa.timestamp("us"))
        if self.way == "yyyymmdd":
            days = held.cast(pa.int64()).cast(pa.string())
            days = pc.replace_substring_regex(days, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
            return days.cast(pa.timestamp("us"))
        return _of_iso(_as_iso(held, self.way, where) if self.way != "iso" else held, where)


def plain_values(held: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values themselves, where a column holds codes of them."""
    import pyarrow as pa

    held = held.cast(held.type.value_type) if pa.types.is_dictionary(held.type) else held
    # Arrow computes little on views, which polars hands over.
    return held.cast(pa.large_string()) if pa.types.is_string_view(held.type) else held


def names_month(text: str) -> bool:
    """Whether a text begins as a date that names its month in English.

    Example:
        >>> [names_month(text) for text in ("12-Jun-2025", "Thu, 12 Jun 2025 08:00:00 +0000", "12 Juno 25")]
        [True, True, False]
    """
    return re.match(_NAMED_MONTH, text.strip()) is not None


def no_times(where: str, received: str, next_step: str | None = None) -> ReferenceDataError:
    """The error of a column that is to hold times."""
    return ReferenceDataError(
        "the time column holds no times",
        where=where,
        expected=EXPECTED,
        received=received,
        next_step=next_step
        or "Convert the column to timestamps, or name none: windows are then so many rows",
    )


def _of_numbers(held: pa.ChunkedArray, where: str) -> Way:
    import pyarrow as pa
    import pyarrow.compute as pc

    span = pc.min_max(held.cast(pa.float64(), safe=False)).as_py()
    low, high = span["min"], span["max"]
    if low is None:
        return "iso"
    for way, factor in _PER_SECOND.items():
        if _FIRST_S * factor <= low and high < _LAST_S * factor:
            return way
    if pa.types.is_integer(held.type) and low >= 1990_01_01 and high < 2100_01_01:
        return "yyyymmdd"
    raise no_times(where, f"{held.type} from {low:.15g} to {high:.15g}")


def _of_text(held: pa.ChunkedArray, where: str, other: pa.ChunkedArray | None) -> Way:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.utf8_trim_whitespace(held.drop_null())
    if not len(known):
        return "iso"
    first = known[0].as_py()
    if re.match(_DOTS, first):
        return "d.m.y"
    if re.match(_YEAR_FIRST, first):
        return "y/m/d"
    if re.match(_SLASHES, first):
        return _of_slashes(known, where, other)
    if names_month(first):
        return "month"
    if re.match(_EIGHT, first):
        return "yyyymmdd"
    if re.match(_EPOCH, first):
        try:
            return _of_numbers(known.cast(pa.float64()), where)
        except pa.ArrowException as error:
            raise no_times(where, str(error)) from error
    return "iso"


def _of_slashes(known: pa.ChunkedArray, where: str, other: pa.ChunkedArray | None) -> Way:
    """What exceeds twelve is no month."""
    first, second = _greatest(known)
    if max(first, second) <= _MONTHS and other is not None and is_text(other.type):
        first, second = _greatest(other)
    if first > _MONTHS >= second:
        return "d/m/y"
    if second > _MONTHS >= first:
        return "m/d/y"
    example = known[0].as_py()
    if max(first, second) <= _MONTHS:
        raise ReferenceDataError(
            "the time column can be read in two ways",
            where=where,
            expected="a day above 12 somewhere, or text such as 2025-12-31",
            received=f"{example!r}, which is day/month or month/day; no row tells which",
            next_step="Convert the column to timestamps or to ISO 8601",
        )
    raise no_times(where, f"{example!r}, and numbers above {_MONTHS} in both places of a month")


def _greatest(held: pa.ChunkedArray) -> tuple[int, int]:
    """Of the first and the second number of dates such as 1/2/2025; zero without any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(pc.utf8_trim_whitespace(held), _SLASHES)
    first, second = (
        pc.max(pc.struct_field(parts, [place]).cast(pa.int64())).as_py() or 0 for place in (0, 1)
    )
    return first, second


def _as_iso(held: pa.ChunkedArray, way: Way, where: str) -> pa.ChunkedArray:
    """Text of another order, and of twelve hours, as ISO 8601."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if way == "month":
        held = _numbered(held)
    parts = pc.extract_regex(pc.utf8_trim_whitespace(held), _DATES[way] + _CLOCK)
    a, b, c, hour, rest, half, zone = (pc.struct_field(parts, [place]) for place in range(7))
    year, month, day = {"m/d/y": (c, a, b), "y/m/d": (a, b, c)}.get(way, (c, b, a))
    month, day = (pc.utf8_lpad(one, 2, "0") for one in (month, day))
    number = pc.if_else(pc.equal(hour, ""), pa.scalar("0", hour.type), hour).cast(pa.int64())
    half = pc.utf8_lower(half)
    number = pc.if_else(
        pc.equal(half, ""), number, pc.subtract(number, pc.if_else(pc.equal(number, 12), 12, 0))
    )
    number = pc.add(number, pc.if_else(pc.equal(half, "pm"), 12, 0))
    hour = pc.utf8_lpad(number.cast(year.type), 2, "0")
    rest = pc.replace_substring(pc.if_else(pc.equal(rest, ""), pa.scalar(":00", rest.type), rest), ",", ".")
    between = [pa.scalar(one, year.type) for one in ("-", " ", "")]
    days = pc.binary_join_element_wise(year, month, day, between[0])
    text = pc.binary_join_element_wise(days, hour, between[1])
    text = pc.binary_join_element_wise(text, rest, zone, between[2])
    strange = text.null_count - held.null_count
    if strange:
        place = pc.index(pc.and_(pc.is_null(text), pc.is_valid(held)), value=True).as_py()
        raise no_times(where, f"{held[place].as_py()!r} among {_SAID[way]}")
    return text


def _numbered(held: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates that name their month, as day.month.year; the name of Greenwich's time as Z."""
    import pyarrow.compute as pc

    held = pc.utf8_trim_whitespace(held)
    for number, name in enumerate(_MONTH_NAMES, 1):
        month = rf"{name[:3]}(?:{name[3:]}|t)?\.?"
        for order in (rf"(\d{{1,2}})[ .-]+{month}[ ,.-]+(\d{{4}})", rf"{month} +(\d{{1,2}}),? +(\d{{4}})"):
            held = pc.replace_substring_regex(held, _WEEKDAY + order, rf"\1.{number}.\2")
    return pc.replace_substring_regex(held, r" ?(?:GMT|UTC)$", "Z")


def _of_iso(held: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Text in ISO 8601, all with an offset or all without."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(held.type) or not len(held):
        return held.cast(pa.timestamp("us"))
    zoned = pc.match_substring_regex(held, _OFFSET)
    timed = pc.match_substring_regex(held, _WITH_HOUR)
    with_zone = pc.sum(pc.and_(zoned, timed)).as_py() or 0
    if with_zone and with_zone < len(held) - held.null_count:
        raise ReferenceDataError(
            "some times have a time zone and some have none",
            where=where,
            expected="an offset such as +01:00 or Z in every row, or in none",
            received=f"{with_zone} of {len(held)} rows with one",
            next_step="Write all of them in one time zone",
        )
    held = pc.replace_substring_regex(held, _FINER, r"\1")
    return held.cast(pa.timestamp("us", "UTC" if with_zone else None), safe=False)
