"""What a request hears that is refused because its answer would come too late."""

from __future__ import annotations

from holdfast.infer.errors import OverloadedError


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.2g} ms"


def beyond_target(expected_s: float, target_s: float, promised_s: float) -> OverloadedError:
    """The queue in front of it would make it later than the latency target allows one in a hundred to be."""
    return OverloadedError(
        f"the answer would take about {_ms(expected_s)}, and up to {_ms(target_s)} "
        f"are let in now, so that 99 in 100 come within {_ms(promised_s)}",
        retry_after_s=expected_s - target_s,
        reason="latency",
    )


def beyond_deadline(expected_s: float, deadline_s: float, *, idle: bool) -> OverloadedError:
    """It would miss its deadline; idle: by itself, for nothing is in front of it."""
    return OverloadedError(
        f"the answer would take about {_ms(expected_s)}, more than the deadline of {_ms(deadline_s)}",
        retry_after_s=max(expected_s - deadline_s, 0.0),
        reason="deadline" if idle else "queue",
        next_step="Send fewer rows per request, or raise the deadline." if idle else None,
    )


def beyond_queue(rows: int, queued: int, most: int, expected_s: float) -> OverloadedError:
    """There is no room for its rows."""
    return OverloadedError(
        f"the queue holds at most {most} rows, {queued} wait, and this request has {rows}",
        retry_after_s=expected_s,
        reason="queue",
        next_step="Send fewer rows per request." if rows > most else None,
    )


def expired() -> OverloadedError:
    """Its deadline passed while it waited."""
    return OverloadedError("the deadline passed while waiting", retry_after_s=1.0, reason="expired")


def waited_too_long(waited_s: float, promised_s: float) -> OverloadedError:
    """It waited longer than was predicted and would now be late, as too many were already."""
    return OverloadedError(
        f"it has waited {_ms(waited_s)}, longer than was expected, and 99 in 100 are to be "
        f"answered within {_ms(promised_s)}",
        retry_after_s=1.0,
        reason="latency",
    )
