"""When the monitor's alarm stood, by what was known at the time."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from holdfast.clock import parse_time_us


@dataclass(frozen=True, slots=True)
class PastAlarms:
    """Whether the monitor's alarm stood at a moment, by what was known then.

    The stored windows were judged with today's labels. An alarm that only the labels raise could not stand
    before they were mature.
    """

    by_inputs: tuple[tuple[int, bool], ...]
    """When it is known, in order of time, and whether the alarm stands."""
    by_labels: tuple[tuple[int, bool], ...]
    delay_us: int

    @classmethod
    def of(cls, diagnosis: dict[str, Any], delay_us: int) -> PastAlarms:
        """From the diagnosis that was stored last, as data; none from an empty one."""
        inputs, labels = [], []
        for window in diagnosis.get("windows", ()):
            end_us, alarm = parse_time_us(window["end"]), bool(window["alarm"])
            needs_labels = (window.get("log_e_concept") or 0) >= 1 > (window.get("log_e_data") or 0)
            inputs.append((end_us, alarm and not needs_labels))
            labels.append((end_us + delay_us, alarm and needs_labels))
        return cls(tuple(inputs), tuple(labels), delay_us)

    def stands(self, now_us: int) -> bool:
        """At this moment."""
        return any(_last(events, now_us) for events in (self.by_inputs, self.by_labels))

    def since(self, now_us: int) -> int | None:
        """End of the window that raised the standing alarm; None where none stands."""
        begun = [
            begun_us - late_us
            for events, late_us in ((self.by_inputs, 0), (self.by_labels, self.delay_us))
            if (begun_us := _begun(events, now_us)) is not None
        ]
        return min(begun, default=None)

    def raised(self) -> list[int]:
        """When it began to stand."""
        moments = sorted({at for at, _ in (*self.by_inputs, *self.by_labels)})
        standing = [self.stands(at) for at in moments]
        return [
            at
            for at, before, now in zip(moments, [False, *standing], standing, strict=False)
            if now and not before
        ]


def _begun(events: tuple[tuple[int, bool], ...], now_us: int) -> int | None:
    """When what stands at a moment began to stand."""
    found = None
    for at_us, stands in events[: bisect_right(events, now_us, key=lambda event: event[0])]:
        found = (at_us if found is None else found) if stands else None
    return found


def _last(events: tuple[tuple[int, bool], ...], now_us: int) -> bool:
    place = bisect_right(events, now_us, key=lambda event: event[0])
    return place > 0 and events[place - 1][1]
