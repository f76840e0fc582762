"""The alarms of one deployment, as the rooms that raise them see it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from holdfast.alerts.channels import Channel, channels_of
from holdfast.alerts.finding import Finding
from holdfast.alerts.policy import Terms, content, on_end, on_finding
from holdfast.alerts.sending import Sender
from holdfast.alerts.snoozing import snoozed_until_us
from holdfast.clock import Clock
from holdfast.registry import Delivery, Registry
from holdfast.spec import Deployment


class Alerting:
    """Writes alarms and their messages into the registry's outbox, and sends them.

    Without channels in the checklist alarms are written down all the same, and nobody is told.

    Args:
        deployment: its `[alerts]`.
        registry: of the deployment.
        clock: for times.
        channels: of the checklist.
    """

    def __init__(
        self, deployment: Deployment, registry: Registry, clock: Clock, channels: tuple[Channel, ...]
    ) -> None:
        self._registry = registry
        self._clock = clock
        self.channels = channels
        self._terms = Terms.of(
            deployment,
            tuple(one.name for one in channels if not one.pager),
            tuple(one.name for one in channels if one.pager),
        )
        self.sender = Sender(
            registry, channels, clock, retry_us=deployment.checklist.alerts.retry.microseconds
        )

    @classmethod
    def open(
        cls, deployment: Deployment, registry: Registry, clock: Clock, environ: Mapping[str, str]
    ) -> Self:
        """With the channels that the checklist names.

        Args:
            deployment: its `[alerts]`.
            registry: of the deployment.
            clock: for times.
            environ: where `env:NAME` stands, such as `os.environ`.

        Raises:
            AlertError: an address is not where the checklist says.
        """
        return cls(deployment, registry, clock, channels_of(deployment, environ))

    def stands(self, finding: Finding) -> bool:
        """Say that something stands. Say it as often as you look: people are told when it is new.

        While a version's diagnosis is snoozed on the dashboard, nothing is told that names the version; what
        still stands afterwards is told then.

        Returns:
            Whether a message was written.
        """
        wanted = self._terms.in_scope(finding)
        if wanted is None:
            return False
        now_us = self._clock.now_us()
        version = finding.version
        if version is not None and snoozed_until_us(self._registry, version, now_us) is not None:
            return False
        return self._registry.outbox.change(
            finding.source, lambda alarm: on_finding(self._terms, wanted, alarm, now_us)
        )[1]

    def ended(self, source: str, sentence: str) -> bool:
        """Say that nothing of that source stands any more.

        Returns:
            Whether a message was written: only if an alarm stood.
        """
        now_us = self._clock.now_us()
        return self._registry.outbox.change(
            source, lambda alarm: on_end(self._terms, source, sentence, alarm, now_us)
        )[1]

    def test(self) -> list[Delivery]:
        """Send a test message to every channel, once; says what came of it."""
        finding = Finding(
            source="test",
            topics=("test",),
            since="now",
            severity="critical",
            title="a test",
            sentence="This is a test of the channel. Nothing is wrong.",
        )
        key = f"{self._terms.deployment}/test"
        message = content(self._terms, finding, key, "test", self._clock.now_us())
        return self.sender.send_once(message)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send in the background while the block runs, and once more at its end."""
        if not self.channels:
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self.sender.follow, args=(stop,), name="alerts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
