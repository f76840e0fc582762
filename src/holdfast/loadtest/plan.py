"""What a generating process is told and what it tells back: plain data between processes."""

from __future__ import annotations

from typing import Final

import msgspec

READY: Final = b"ready"
"""What a process writes first, when it has loaded what it needs and waits for its plan on standard input."""

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
    """The work of one generating process."""

    host: str
    port: int
    tls: bool
    certificate: str | None = None
    certificate_key: str | None = None
    """PEM files of a client certificate."""
    payloads: list[bytes]
    """Whole requests, head and body."""
    arrivals: bytes = b""
    """Little-endian float64: intended send times in seconds after `start_s`, ascending."""
    choices: bytes = b""
    """Little-endian int32: which payload each arrival sends."""
    start_s: float = 0.0
    """On the machine's monotonic clock, the same for every process."""
    connections: int
    timeout_s: float
    keep_every: int
    """The raw answer of every so many requests is kept, to be checked afterwards; 0 keeps none."""
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
    latency: bytes = b""
    """Little-endian float64, for each arrival: seconds from the intended send time to the end of the answer;
    NaN: none."""
    outcome: bytes = b""
    """Little-endian int16, for each arrival."""
    kept: list[Kept]
