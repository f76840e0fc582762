"""Hours of the day in which messages wait."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec


class QuietHours(msgspec.Struct, frozen=True):
    """Every day from `start` up to `end`, over midnight where `end` is earlier; none where both are equal."""

    start: time
    end: time
    zone: str

    def over_us(self, now_us: int) -> int:
        """When messages may be sent: now, or at the end of the quiet hours.

        Example:
            >>> night = QuietHours(time(22), time(7), "Europe/Berlin")
            >>> evening = int(datetime(2026, 7, 1, 21, tzinfo=UTC).timestamp() * 1e6)
            >>> str(datetime.fromtimestamp(night.over_us(evening) / 1e6, UTC))
            '2026-07-02 05:00:00+00:00'
        """
        zone = ZoneInfo(self.zone)
        now = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC).astimezone(zone)
        clock = now.time()
        through_midnight = self.end < self.start
        if through_midnight:
            quiet = clock >= self.start or clock < self.end
        else:
            quiet = self.start <= clock < self.end
        if not quiet:
            return now_us
        day = now.date() + timedelta(days=1) if through_midnight and clock >= self.start else now.date()
        end = datetime.combine(day, self.end, tzinfo=zone)
        return max(now_us, int(end.timestamp()) * 1_000_000)


def read_quiet_hours(text: str, zone: str) -> QuietHours | None:
    """Of `[alerts] quiet_hours`, such as "22:00-07:00"; None where it is empty."""
    if not text:
        return None
    start, _, end = text.partition("-")
    return QuietHours(time.fromisoformat(start), time.fromisoformat(end), zone)
