"""The supervisor's side of the model repository: which versions every worker holds beside the champion.

An act is done when every worker that lived at its start has done it or is gone; then its caller is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from holdfast.errors import HoldfastError
from holdfast.serve.children import WorkerProcess
from holdfast.serve.control import (
    Ask,
    Held,
    Hold,
    Loaded,
    LoadFailed,
    Message,
    Release,
    Released,
    Told,
    VersionState,
)
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.registry import Registry

_MIB: Final = 1024 * 1024
_WHOLE: Final = ""
"""Stands for the whole model where a version is named."""


class Withdraw(Protocol):
    """Unloads the whole model from all workers, or brings it back; they answer with the ticket."""

    def __call__(self, ticket: int, *, withdrawn: bool) -> None:
        """Tell the workers."""


@dataclass(slots=True)
class _Act:
    """Something that a caller wants done."""

    ask: Ask
    asker: WorkerProcess
    version: str | None = None
    """That is loaded by this act."""
    waiting: list[tuple[WorkerProcess, str]] = field(default_factory=list)
    """Who has not yet said that it is done with which version."""
    whole: Literal["load", "unload"] | None = None
    """The act is about the whole model."""
    error: str | None = None


class Holdings:
    """Loads and unloads versions in all workers, one act at a time.

    Args:
        deployment: whose artifacts they are.
        workers: those that live now.
        send: tells one of them.
        withdraw: unloads the whole model, or brings it back.
        memory_mb: of the whole service; None: the deployment is alone in it. Of several, a load or an unload
            that names no version means the whole model.
    """

    def __init__(
        self,
        deployment: Deployment,
        workers: Callable[[], list[WorkerProcess]],
        send: Callable[[WorkerProcess, Message], None],
        withdraw: Withdraw,
        *,
        memory_mb: Callable[[], int] | None = None,
    ) -> None:
        self.registry: Registry | None = None
        """Set once it is open."""
        self.deployment = deployment
        self._workers = workers
        self._send_one = send
        self._withdraw = withdraw
        self._service_memory_mb = memory_mb
        self._withdrawn = False
        self._ticket = 0
        self._held: dict[str, Hold] = {}
        self._memory_bytes: dict[tuple[int, str], int] = {}
        """By place of the worker and version."""
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
            if message.error is None:
                self._memory_bytes[worker.index, message.version] = message.memory_bytes
            self._done(worker, message.version, message.error)
        elif isinstance(message, Released):
            self._done(worker, message.version, None)
        elif isinstance(message, Loaded):
            if message.version is not None:
                self._memory_bytes[worker.index, message.version] = message.memory_bytes
                self._reasons.pop(message.version, None)
            if message.ticket == self._ticket:
                self._done(worker, _WHOLE, None)
        elif isinstance(message, LoadFailed):
            if message.version is not None:
                self._reasons[message.version] = message.error
            if message.answering is not None:
                self._memory_bytes[worker.index, message.answering] = message.memory_bytes
            if message.ticket == self._ticket:
                self._done(worker, _WHOLE, message.error)
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
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        ask = act.ask
        try:
            if ask.act == "load":
                self._begin_load(act)
            elif ask.act == "unload":
                self._begin_unload(act)
        except (HoldfastError, SQLAlchemyError, OSError) as error:
            act.error = _text(error)
            act.waiting = []

    def _begin_load(self, act: _Act) -> None:
        version = act.ask.version
        registry = self.registry
        if registry is None:
            act.error = "the registry is not open yet"
            return
        if self._withdrawn:
            if version is None:
                self._begin_whole(act, "load")
            else:
                registry.version(version)
                act.error = "the model is unloaded; load it without a version first"
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
        folder = self.deployment.artifacts_folder / found.artifact_folder
        act.version = found.version
        act.error = self._over_budget(_size_bytes(folder))
        if act.error is None:
            hold = self._held[found.version] = Hold(found.version, str(folder))
            self._send(act, hold)

    def _begin_unload(self, act: _Act) -> None:
        version = act.ask.version
        if version is None and self._service_memory_mb is not None:
            if not self._withdrawn:
                self._begin_whole(act, "unload")
            return
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

    def _begin_whole(self, act: _Act, whole: Literal["load", "unload"]) -> None:
        act.whole = whole
        act.waiting = [(worker, _WHOLE) for worker in self._workers()]
        self._tell_whole(withdrawn=whole == "unload")

    def _tell_whole(self, *, withdrawn: bool) -> None:
        self._ticket += 1
        self._withdrawn = withdrawn
        if withdrawn:
            self._held.clear()
        self._withdraw(self._ticket, withdrawn=withdrawn)

    def _send(self, act: _Act, message: Hold | Release) -> None:
        for worker in self._workers():
            self._send_one(worker, message)
            act.waiting.append((worker, message.version))

    def _end(self, act: _Act) -> None:
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        ask = act.ask
        version = act.version
        if act.error is None and (version is not None or act.whole == "load"):
            act.error = self._over_budget(0)
        if act.whole == "load" and act.error is not None:
            self._tell_whole(withdrawn=True)  # as before: what cannot be loaded keeps nobody waiting
        if version is not None:
            if act.error is not None:
                self._reasons[version] = act.error
                if self._held.pop(version, None) is not None:
                    for worker in self._workers():
                        self._send_one(worker, Release(version))
            else:
                self._reasons.pop(version, None)
        versions: tuple[VersionState, ...] = ()
        unknown = False
        try:
            versions = self._states()
            unknown = act.error is not None and ask.version not in {None, *(one.version for one in versions)}
        except (HoldfastError, SQLAlchemyError) as error:
            if ask.act == "index":  # what was to be done is done, whatever can be told of it
                act.error = _text(error)
        self._send_one(act.asker, Told(ask.ticket, act.error, unknown, versions))

    def _over_budget(self, more_bytes: int) -> str | None:
        """Why the workers may not grow, or None; `more_bytes` of each."""
        own_mb = self.deployment.checklist.compute.memory_mb
        limit_mb = own_mb if self._service_memory_mb is None else self._service_memory_mb()
        workers = self._workers()
        used = sum(worker.resident_bytes for worker in workers)
        wanted_mb = (used + more_bytes * len(workers)) / _MIB
        if wanted_mb > limit_mb:
            return (
                f"the workers would take {wanted_mb:.0f} MB, more than [compute] memory_mb = {limit_mb}"
                + ("" if self._service_memory_mb is None else " of all deployments together")
                + "; unload a version or raise it"
            )
        if self._service_memory_mb is None:
            return None
        present = {*self._held, *self._answering()}
        used = sum(size for (_, version), size in self._memory_bytes.items() if version in present)
        wanted_mb = (used + more_bytes * len(workers)) / _MIB
        if wanted_mb > own_mb:
            return (
                f"the versions of {self.deployment.name} would take {wanted_mb:.0f} MB, more than its "
                f"[compute] memory_mb = {own_mb}; unload a version or raise it"
            )
        return None

    def _champion(self) -> str | None:
        return None if self.registry is None else self.registry.route().champion

    def _answering(self) -> set[str | None]:
        """The version with which each worker answers who names none."""
        return {one.answered.get(self.deployment.name, (0, None))[1] for one in self._workers()}

    def _states(self) -> tuple[VersionState, ...]:
        if self.registry is None:
            return ()
        champion = self._champion()
        answering = self._answering()
        states = []
        for one in self.registry.versions():
            version = one.version
            loaded = (
                version in answering
                or version in self._held
                or (version == champion and version not in self._reasons)
            ) and not self._withdrawn
            memory_bytes = sum(size for (_, of), size in self._memory_bytes.items() if of == version)
            states.append(
                VersionState(
                    version=version,
                    loaded=loaded,
                    champion=version == champion,
                    reason="unloaded" if self._withdrawn else self._reasons.get(version, ""),
                    memory_bytes=memory_bytes if loaded else 0,
                )
            )
        return tuple(states)


def _text(error: Exception) -> str:
    """What a caller is told; a database's or a disk's own message says more than callers need."""
    if isinstance(error, HoldfastError):
        return str(error)
    what = "the artifact" if isinstance(error, OSError) else "the registry"
    return f"{what} cannot be read: {type(error).__name__}"


def _size_bytes(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
