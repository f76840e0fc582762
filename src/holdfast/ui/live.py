"""What an open page is told: new numbers each second, and that something has changed.

One stream a page, closed by the page when nobody sees it. All streams share one look a second at the same
small files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool

from holdfast.ui import words
from holdfast.ui.facts import Facts
from holdfast.ui.traffic import Traffic, TrafficWatch

MOST_STREAMS: Final = 64
EVERY_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
"""A comment is sent in between, so that a browser that is gone is noticed."""


class Live:
    """The streams of all open pages.

    Args:
        facts: of the deployment.
        watch: its traffic.
        ending: whether the dashboard is about to end.
    """

    def __init__(self, facts: Facts, watch: TrafficWatch, ending: Callable[[], bool]) -> None:
        self._facts = facts
        self._watch = watch
        self._ending = ending
        self._looked_s = float("-inf")
        self._seen: tuple[str, dict[str, str]] = ("", {})
        self._lock = asyncio.Lock()
        self.open_streams = 0

    async def look(self) -> tuple[str, dict[str, str]]:
        """The stamp of what is stored, and the numbers as text; at most one look a second."""
        async with self._lock:
            now_s = self._facts.clock.monotonic_s()
            if now_s - self._looked_s >= EVERY_S * 0.9:
                self._seen = await run_in_threadpool(self._read)
                self._looked_s = now_s
            return self._seen

    def _read(self) -> tuple[str, dict[str, str]]:
        return self._facts.stamp(), numbers(self._watch.look(), self._facts)

    async def stream(self, still_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Server-sent events, until the viewer's session or the dashboard ends."""
        self.open_streams += 1
        try:
            known_stamp, known = await self.look()
            yield _event("numbers", known)
            quiet_s = 0.0
            while not self._ending():
                await asyncio.sleep(EVERY_S)
                if not await run_in_threadpool(still_allowed):
                    yield _event("ended", {})
                    return
                stamp, found = await self.look()
                changed = {name: text for name, text in found.items() if known.get(name) != text}
                quiet_s += EVERY_S
                if changed:
                    yield _event("numbers", changed)
                if stamp != known_stamp:
                    yield _event("changed", {"stamp": stamp})
                if changed or stamp != known_stamp:
                    quiet_s = 0.0
                elif quiet_s >= KEEP_ALIVE_S:
                    quiet_s = 0.0
                    yield b": still here\n\n"
                known_stamp, known = stamp, found
        finally:
            self.open_streams -= 1


def numbers(traffic: Traffic | None, facts: Facts) -> dict[str, str]:
    """The moving numbers of the first page as it shows them, by the names that it gives them."""
    found = traffic_words(traffic)
    account = facts.account()
    if account is not None:
        found["unaccounted"] = words.number(account.unaccounted)
        found["served"] = words.number(account.served)
        found["stored"] = words.number(account.stored)
    return found


def traffic_words(traffic: Traffic | None) -> dict[str, str]:
    """The numbers of the traffic as text."""
    if traffic is None:
        return {}
    return {
        "qps": words.number(traffic.queries_per_s),
        "p50": latency(traffic.p50_s),
        "p99": latency(traffic.p99_s),
        "errors": words.share(traffic.error_share, 2),
        "error-count": words.number(traffic.errors),
        "refused": words.number(traffic.refused),
        "rows": words.number(traffic.rows),
        "queued": words.number(traffic.queued_rows),
        "connections": words.number(traffic.open_connections),
        "over": "since the start" if traffic.since_start else f"last {traffic.window_s:.0f} s",
    }


def latency(seconds: float | None) -> str:
    """Upper end of the bucket that a quantile is in.

    Example:
        >>> latency(0.0025), latency(float("inf"))
        ('≤ 2.5 ms', '> 10 s')
    """
    if seconds is None:
        return words.DASH
    return "> 10 s" if seconds == float("inf") else f"≤ {words.duration(seconds)}"


def _event(name: str, data: dict[str, str]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
