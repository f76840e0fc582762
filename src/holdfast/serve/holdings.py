"""The supervisor's side of the model repository: which versions every worker holds beside the champion.

An act is done when every worker that lived at its start has done it or is gone; then its caller is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.serve.children import WorkerProcess
from holdfast.serve.control import Ask, Held, Hold, Message, Release, Released, Told, VersionState
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.registry import Registry

_MIB: Final = 1024 * 1024


@dataclass(slots=True)
class _Act:
    """Something that a caller wants done."""

    ask: Ask
    asker: WorkerProcess
    version: str | None = None
    """That is loaded by this act."""
    waiting: list[tuple[WorkerProcess, str]] = field(default_factory=list)
    """Who has not yet said that it is done with which version."""
    error: str | None = None


class Holdings:
    """Loads and unloads versions in all workers, one act at a time.

    Args:
        deployment: whose artifacts they are.
        workers: those that live now.
    """

    def __init__(self, deployment: Deployment, workers: Callable[[], list[WorkerProcess]]) -> None:
        self.registry: Registry | None = None
        """Set once it is open."""
        self.deployment = deployment
        self._workers = workers
        self._held: dict[str, Hold] = {}
        self._memory_bytes: dict[tuple[int, str], int] = {}
        """By place of the worker and version."""
        self._process_bytes: dict[int, int] = {}
        self._reasons: dict[str, str] = {}
        self._acts: list[_Act] = []

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What a new worker loads before it listens."""
        return tuple(self._held.values())

    def hear(self, worker: WorkerProcess, message: Message) -> None:
        """Take in what a worker says."""
        if isinstance(message, Ask):
            self._acts.append(_Act(message, worker))
            if len(self._acts) == 1:
                self._begin(self._acts[0])
        elif isinstance(message, Held):
            self._process_bytes[worker.index] = message.process_bytes
            if message.error is None:
                self._memory_bytes[worker.index, message.version] = message.memory_bytes
            self._done(worker, message.version, message.error)
        elif isinstance(message, Released):
            self._memory_bytes.pop((worker.index, message.version), None)
            self._done(worker, message.version, None)
        self.tend()

    def _done(self, worker: WorkerProcess, version: str, error: str | None) -> None:
        if self._acts and (worker, version) in self._acts[0].waiting:
            self._acts[0].waiting.remove((worker, version))
            self._acts[0].error = self._acts[0].error or error

    def tend(self) -> None:
        """End the act that is done, begin the next."""
        while self._acts:
            act = self._acts[0]
            act.waiting = [one for one in act.waiting if one[0].process.poll() is None]
            if act.waiting:
                return
            self._acts.pop(0)
            self._end(act)
            if self._acts:
                self._begin(self._acts[0])

    def _begin(self, act: _Act) -> None:
        ask = act.ask
        try:
            if ask.act == "load":
                self._begin_load(act)
            elif ask.act == "unload":
                self._begin_unload(act)
        except HoldfastError as error:
            act.error = str(error)
            act.waiting = []

    def _begin_load(self, act: _Act) -> None:
        version = act.ask.version
        registry = self.registry
        if registry is None:
            act.error = "the registry is not open yet"
            return
        if version is None:
            known = registry.versions()
            if not known:
                act.error = "no version is registered"
                return
            version = known[-1].version
        found = registry.version(version)
        if found.version in self._held:
            return
        folder = self.deployment.artifacts_folder / found.sha256[:32]
        act.version = found.version
        act.error = self._over_budget(_size_bytes(folder))
        if act.error is None:
            hold = self._held[found.version] = Hold(found.version, str(folder))
            self._send(act, hold)

    def _begin_unload(self, act: _Act) -> None:
        version = act.ask.version
        champion = self._champion()
        if version is not None and version not in self._held:
            if version == champion:
                act.error = "the champion cannot be unloaded; promote another version first"
                return
            if self.registry is not None:
                self.registry.version(version)
            return
        for one in [version] if version is not None else list(self._held):
            del self._held[one]
            self._send(act, Release(one))

    def _send(self, act: _Act, message: Hold | Release) -> None:
        for worker in self._workers():
            worker.send(message)
            act.waiting.append((worker, message.version))

    def _end(self, act: _Act) -> None:
        ask = act.ask
        version = act.version
        if version is not None:
            act.error = act.error or self._over_budget(0)
            if act.error is not None:
                self._reasons[version] = act.error
                if self._held.pop(version, None) is not None:
                    for worker in self._workers():
                        worker.send(Release(version))
            else:
                self._reasons.pop(version, None)
        versions: tuple[VersionState, ...] = ()
        unknown = False
        try:
            versions = self._states()
            unknown = act.error is not None and ask.version not in {None, *(one.version for one in versions)}
        except HoldfastError as error:
            act.error = act.error or str(error)
        act.asker.send(Told(ask.ticket, act.error, unknown, versions))

    def _over_budget(self, more_bytes: int) -> str | None:
        """Why the workers may not grow, or None; `more_bytes` of each."""
        limit_mb = self.deployment.checklist.compute.memory_mb
        workers = self._workers()
        used = sum(self._process_bytes.get(worker.index, 0) for worker in workers)
        wanted_mb = (used + more_bytes * len(workers)) / _MIB
        if wanted_mb <= limit_mb:
            return None
        return (
            f"the workers would take {wanted_mb:.0f} MB, more than [compute] memory_mb = {limit_mb}; "
            "unload a version or raise it"
        )

    def _champion(self) -> str | None:
        return None if self.registry is None else self.registry.route().champion

    def _states(self) -> tuple[VersionState, ...]:
        if self.registry is None:
            return ()
        champion = self._champion()
        return tuple(
            VersionState(
                version=one.version,
                loaded=one.version == champion or one.version in self._held,
                champion=one.version == champion,
                reason=self._reasons.get(one.version, ""),
                memory_bytes=sum(
                    size for (_, version), size in self._memory_bytes.items() if version == one.version
                ),
            )
            for one in self.registry.versions()
        )


def _size_bytes(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
