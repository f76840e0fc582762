"""Rate limits that all workers of a service share."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from holdfast.clock import Clock

SLOTS: Final = 1 << 16
_BYTES: Final = SLOTS * 8
RATES_FILE: Final = "rates"


def make_rates_file(run_folder: Path) -> Path:
    """A new, empty file of slots; called once per start of the service, before any worker."""
    path = run_folder / RATES_FILE
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.truncate(_BYTES)
    return path


class RateSlots:
    """One double per caller: the moment at which the caller has used up nothing, in monotonic seconds.

    Monotonic time is the same in all processes of a machine, so a shared page is all that workers need. Two
    workers that admit one caller in the same instant may lose one of the two entries: the limit errs by
    one request, to the caller's advantage, and costs neither lock nor system call.

    Args:
        path: of a file that `make_rates_file` made; None: slots of this process only.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self._map = mmap.mmap(-1, _BYTES)
        else:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), _BYTES)
        self.values = memoryview(self._map).cast("d")

    def close(self) -> None:
        """Let go of the page."""
        self.values.release()
        self._map.close()


class RateGate:
    """Admits so many requests per second of one caller, and one second's worth at once.

    The generic cell rate algorithm (ITU-T I.371): equal to a token bucket, with one number as its state.

    Args:
        slots: shared by the workers.
        slot: of this caller.
        requests_per_s: above 0.
        clock: monotonic.
    """

    __slots__ = ("_burst_s", "_clock", "_interval_s", "_slot", "_values")

    def __init__(self, slots: RateSlots, slot: int, requests_per_s: float, clock: Clock) -> None:
        self._values = slots.values
        self._slot = slot
        self._interval_s = 1.0 / requests_per_s
        self._burst_s = max(1.0 - self._interval_s, 0.0)
        self._clock = clock

    def admit(self) -> bool:
        """Whether one more request is within the limit; if so it is counted."""
        now_s = self._clock.monotonic_s()
        used_up_s = max(self._values[self._slot], now_s)
        if used_up_s - now_s > self._burst_s + 1e-9:
            return False
        self._values[self._slot] = used_up_s + self._interval_s
        return True

    def wait_s(self) -> float:
        """Seconds until one more request is within the limit."""
        return max(self._values[self._slot] - self._clock.monotonic_s() - self._burst_s, 0.0)
