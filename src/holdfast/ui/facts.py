"""What every page reads: the registry, the monitor's stored results, the service's counts. Never the log.

Everything is small: a diagnosis, a history of aggregates, a few rows of the registry. What does not change
between two looks is read once.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.clock import Clock
from holdfast.monitor import (
    Diagnosis,
    History,
    SliceHistory,
    SliceSummary,
    read_history,
    read_slice,
    read_slices,
)
from holdfast.prediction_log import Account, read_account
from holdfast.registry import Evidence, Registry
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts, read_all

DIAGNOSIS: Final = "diagnosis"
CHECK: Final = "check"
COMPARISON: Final = "comparison"


class StoredDiagnosis(msgspec.Struct, frozen=True):
    """A diagnosis as the registry holds it."""

    evidence_id: int
    at_us: int
    """When it was stored: it has held since, until the next one."""
    diagnosis: Diagnosis


class RunningService(msgspec.Struct, frozen=True):
    """What a service says of itself while it runs."""

    url: str
    pid: int
    since_us: int


class Facts:
    """Reads one deployment.

    Args:
        deployment: as it was when the dashboard started; a reload starts another.
        registry: open; it may be written by others meanwhile.
        clock: for ages.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock) -> None:
        self.deployment = deployment
        self.registry = registry
        self.clock = clock
        self._lock = threading.Lock()
        self._history: tuple[tuple[str, int, int], History | None] | None = None

    def champion(self) -> str | None:
        """The version that answers."""
        return self.registry.route().champion

    def diagnosis(self, version: str | None) -> StoredDiagnosis | None:
        """The newest diagnosis of a version; None before the first."""
        if version is None:
            return None
        found = self.registry.evidence(version, DIAGNOSIS, limit=1)
        return _stored(found[0]) if found else None

    def diagnoses(self, version: str | None, limit: int) -> list[StoredDiagnosis]:
        """The newest so many, newest first."""
        if version is None:
            return []
        found = [_stored(one) for one in self.registry.evidence(version, DIAGNOSIS, limit=limit)]
        return [one for one in found if one is not None]

    def snoozed_until_us(self, version: str | None) -> int | None:
        """Until when people are told nothing of a version's diagnosis; None if it is not snoozed."""
        from holdfast.alerts import snoozed_until_us

        return None if version is None else snoozed_until_us(self.registry, version, self.clock.now_us())

    def history(self, version: str | None) -> History | None:
        """How the columns fared; kept until the file changes."""
        if version is None:
            return None
        try:
            stat = (self.deployment.monitor_folder / f"{version}.history").stat()
        except OSError:
            return None
        key = (version, stat.st_mtime_ns, stat.st_ino)
        with self._lock:
            if self._history is None or self._history[0] != key:
                self._history = (key, read_history(self.deployment.monitor_folder, version))
            return self._history[1]

    def slices(self, version: str | None) -> tuple[SliceSummary, ...]:
        """The parts of the rows that the checklist names, as they were last judged."""
        named = self.deployment.checklist.monitoring.slices
        if version is None or not named:
            return ()
        found = read_slices(self.deployment.monitor_folder, version)
        return tuple(one for one in found if one.column in named)

    def slice(self, version: str | None, column: str, value: str) -> SliceHistory | None:
        """One of them in full; None where there is none."""
        if version is None:
            return None
        return read_slice(self.deployment.monitor_folder, version, column, value)

    def account(self) -> Account | None:
        """The ledger as the keeper last saw it."""
        return read_account(self.deployment.log_folder)

    def counts(self) -> ServiceCounts:
        """Of all workers of the running service."""
        return read_all(self.deployment.run_folder)

    def running(self) -> RunningService | None:
        """The service that runs on this folder, if one does."""
        path = self.deployment.run_folder / "serve.json"
        try:
            said: Any = msgspec.json.decode(path.read_bytes())
            since_us = path.stat().st_mtime_ns // 1000
            os.kill(said["pid"], 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return RunningService(said["url"], said["pid"], since_us)

    def newest(self, kind: str, version: str | None = None) -> Evidence | None:
        """The newest evidence of a kind."""
        found = self.registry.evidence(version, kind, limit=1)
        return found[0] if found else None

    def stamp(self) -> str:
        """Another text whenever a page may look different, traffic apart."""
        parts: list[object] = list(self.registry.stamp())
        account = self.account()
        parts += [_modified(self.deployment.monitor_folder), account.at_us if account else 0]
        parts += self.registry.outbox.counts().values()
        return "-".join(map(str, parts))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def _stored(evidence: Evidence) -> StoredDiagnosis | None:
    try:
        diagnosis = msgspec.convert(evidence.payload, Diagnosis)
    except msgspec.ValidationError:  # of a release that said more or less
        return None
    return StoredDiagnosis(evidence.id, evidence.at_us, diagnosis)
