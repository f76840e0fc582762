"""What a generating process is told and what it tells back: plain data between processes."""

from __future__ import annotations

from typing import Final

import msgspec

OK: Final = 0
"""An answer with status 200."""
UNSENT: Final = 1
REFUSED_CONNECTION: Final = 2
CLOSED: Final = 3
"""The connection ended before the answer did."""
TIMED_OUT: Final = 4
NOT_HTTP: Final = 5
"""From 100 on an outcome is the status of an answer."""

OUTCOMES: Final = {
    UNSENT: "never sent: no connection came free",
    REFUSED_CONNECTION: "connection refused",
    CLOSED: "connection closed without an answer",
    TIMED_OUT: "no answer in time",
    NOT_HTTP: "an answer that is not HTTP",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one generating process; its arrays lie beside it in files."""

    host: str
    port: int
    tls: bool
    payloads: list[bytes]
    """Whole requests, head and body."""
    arrivals_file: str
    """`.npy`, float64: intended send times in seconds after `start_s`, ascending."""
    choices_file: str
    """`.npy`, int32: which payload each arrival sends."""
    start_s: float
    """On the machine's monotonic clock, the same for every process."""
    connections: int
    timeout_s: float
    keep_every: int
    """The raw answer of every so many requests is kept, to be checked afterwards; 0 keeps none."""
    latency_file: str
    """`.npy` to write, float64: seconds from the intended send time to the end of the answer; NaN: none."""
    outcome_file: str
    """`.npy` to write, int16."""
    report_file: str
    """To write last, MessagePack: an `Outcome`."""
    cpu: int | None = None
    """Core to stay on; None: any."""
    closed_loop: bool = False
    """Wrong on purpose: each connection sends its next request when the last was answered, and latency counts
    from the sending. To show what coordinated omission hides."""


class Kept(msgspec.Struct, frozen=True):
    """One raw answer."""

    payload: int
    answer: bytes


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a generating process says when it has finished."""

    lag_p50_s: float
    lag_p99_s: float
    """How late requests were sent although a connection was free, plus how late the loop woke."""
    lag_max_s: float
    busy: float
    """Share of the time that the process used its core."""
    cpu_s: float
    opened: int
    """Connections."""
    kept: list[Kept]
