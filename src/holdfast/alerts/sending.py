"""Empties the outbox: each channel by itself, again and again until it takes a message or time is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.alerts.channels import Channel
from holdfast.alerts.errors import ChannelError
from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.registry import Delivery, Registry

_log: Final = logging.getLogger("holdfast.alerts")
FIRST_PAUSE_S: Final = 15.0
"""Before the second try, and doubled with each: most failures are over by then, and nobody is flooded."""
LONGEST_PAUSE_S: Final = 3600.0
CLAIM_S: Final = 300.0
"""How long a message stays taken by a sender that has died: longer than any channel takes for `_AT_ONCE`."""
LOOK_EVERY_S: Final = 2.0
_AT_ONCE: Final = 10
"""Messages that a channel is given in one go."""
_END_WAIT_S: Final = 15.0
"""How long an ending process waits for channels that are at it."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did."""

    sent: int = 0
    failed: int = 0
    """Tries; they are made again."""
    given_up: int = 0
    busy: int = 0
    """Channels that had not answered when the pass ended."""


class _Tally:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {"sent": 0, "failed": 0, "given_up": 0}

    def add(self, what: str, count: int = 1) -> None:
        with self.lock:
            self.counts[what] += count


class Sender:
    """Sends what waits in a registry's outbox. Several may work at once: each message goes to one of them.

    Args:
        registry: with the outbox.
        channels: of the checklist.
        clock: for times and pauses.
        retry_us: how long a message is tried.
    """

    def __init__(
        self,
        registry: Registry,
        channels: Sequence[Channel],
        clock: Clock,
        *,
        retry_us: int,
    ) -> None:
        self._outbox = registry.outbox
        self._channels = tuple(channels)
        self._clock = clock
        self._retry_us = retry_us
        self._busy: dict[str, threading.Thread] = {}

    def send_due(self, *, wait_s: float = _END_WAIT_S) -> Sent:
        """Send everything that is due, each channel in a thread of its own.

        Args:
            wait_s: how long to wait for slow channels. Those that are slower go on by themselves; a later
                pass leaves them alone until they are done.
        """
        tally = _Tally()
        gone = self._outbox.give_up_all_but([one.name for one in self._channels])
        if gone:
            _log.error("%d messages were given up: the checklist no longer names their channels", gone)
            tally.add("given_up", gone)
        self._busy = {name: one for name, one in self._busy.items() if one.is_alive()}
        for channel in self._channels:
            if channel.name in self._busy:
                continue
            due = self._outbox.claim(channel.name, hold_us=round(CLAIM_S * 1e6), limit=_AT_ONCE)
            if due:
                # A daemon: a channel that never answers does not keep the process from ending.
                thread = threading.Thread(
                    target=self._tell, args=(channel, due, tally), name=channel.name, daemon=True
                )
                self._busy[channel.name] = thread
                thread.start()
        busy = self._wait(self._busy.values(), wait_s)
        with tally.lock:
            return Sent(busy=busy, **tally.counts)

    def send_once(self, content: Mapping[str, Any]) -> list[Delivery]:
        """Send one message to every channel now, without a second try.

        Returns:
            What came of it: a delivery still `waiting` had no answer in time.
        """
        tally = _Tally()
        names = [one.name for one in self._channels]
        written = self._outbox.write(content, names, hold_us=round(CLAIM_S * 1e6))
        threads = [
            threading.Thread(
                target=self._tell, args=(channel, [one], tally), kwargs={"once": True}, daemon=True
            )
            for channel, one in zip(self._channels, written, strict=True)
        ]
        for thread in threads:
            thread.start()
        self._wait(threads, _END_WAIT_S)
        mine = {one.number for one in written}
        return [one for one in reversed(self._outbox.deliveries(100 + len(mine))) if one.number in mine]

    def follow(self, stop: threading.Event) -> None:
        """Send until `stop` is set, then once more."""
        while True:
            stopping = stop.is_set()
            try:
                if stopping:  # what a busy channel was not yet given is given to it now
                    self._wait(self._busy.values(), _END_WAIT_S)
                self.send_due(wait_s=_END_WAIT_S if stopping else 0.0)
            except HoldfastError as error:  # a full disk, a locked registry: what waits is not lost
                _log.error("messages wait: %s", error)
            if stopping:
                return
            stop.wait(LOOK_EVERY_S)

    def _wait(self, threads: Collection[threading.Thread], wait_s: float) -> int:
        """Wait for them together, and say how many are still at it."""
        until_s = self._clock.monotonic_s() + wait_s
        for thread in threads:
            thread.join(max(0.0, until_s - self._clock.monotonic_s()))
        return sum(thread.is_alive() for thread in threads)

    def _tell(self, channel: Channel, due: Sequence[Delivery], tally: _Tally, *, once: bool = False) -> None:
        """Oldest first; the first failure ends it, for the next message would fail too."""
        try:
            for place, one in enumerate(due):
                fault = self._try(channel, one)
                if fault is None:
                    self._outbox.sent(one.number)
                    tally.add("sent")
                    continue
                next_us = None if once else self._next_us(one)
                self._outbox.failed(one.number, fault, next_us)
                tally.add("failed" if next_us is not None else "given_up")
                if next_us is None:
                    tries = "1 try" if one.tries == 0 else f"{one.tries + 1} tries"
                    _log.error("%s: given up after %s: %s", channel.name, tries, fault)
                else:
                    _log.warning("%s: %s; it is tried again", channel.name, fault)
                rest = [later.number for later in due[place + 1 :]]
                self._outbox.release(rest, next_us if next_us is not None else self._clock.now_us())
                return
        except HoldfastError as error:  # the registry; the claim ends and they are due again
            _log.error("%s: %s", channel.name, error)

    def _try(self, channel: Channel, one: Delivery) -> str | None:
        try:
            channel.send({"id": f"{one.content['key']}/{one.number}", **one.content})
        except (ChannelError, HoldfastError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the thread's owner: it is said, counted and tried again
            _log.exception("%s failed in a way that is not foreseen", channel.name)
            return type(error).__name__
        return None

    def _next_us(self, one: Delivery) -> int | None:
        """When to try again after this failure; None once its time is over."""
        now_us = self._clock.now_us()
        # Quiet hours may have kept it for longer than it is to be tried: never give up at the first try.
        if one.tries > 0 and now_us - one.written_at_us >= self._retry_us:
            return None
        return now_us + round(1e6 * min(FIRST_PAUSE_S * 2.0 ** min(one.tries, 20), LONGEST_PAUSE_S))
