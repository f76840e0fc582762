"""Trains when a trigger holds, for as long as it runs: what stands beside an unattended service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from holdfast.clock import Clock
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.train.policy import Plan
from holdfast.train.triggering import due

LARGEST_DUTY: Final = 0.05
"""Share of the time that looking may take: on a large log it looks less often, not harder."""

Start = Callable[[Plan, threading.Event], str]
"""Trains once, for this plan, and says what came of it; returns early once the event is set."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One training that the watch has started."""

    plan: Plan
    outcome: str
    """In words."""


class Watch:
    """Asks the policy at every interval, and starts a training where it says so; never two at once.

    Args:
        deployment: its `[training]` says what triggers, how often and how much.
        registry: of the deployment.
        clock: wall time of the triggers, monotonic time of the intervals.
        start: trains.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock, start: Start) -> None:
        self._deployment = deployment
        self._registry = registry
        self._clock = clock
        self._start = start

    def run_once(self, stop: threading.Event) -> Watched | None:
        """Look once; None where nothing is due."""
        plan = due(self._deployment, self._registry, self._clock)
        return Watched(plan, self._start(plan, stop)) if plan.train else None

    def follow(self, stop: threading.Event) -> Iterator[Watched]:
        """Look again and again until `stop` is set; yields each training that came to its end."""
        interval_s = self._deployment.checklist.training.watch_interval.seconds
        while not stop.is_set():
            began_s = self._clock.monotonic_s()
            found = self.run_once(stop)
            if found is not None:
                yield found
            spent_s = self._clock.monotonic_s() - began_s
            stop.wait(interval_s if found is not None else max(interval_s, spent_s / LARGEST_DUTY))
