"""One deployment as the supervisor follows it: its registry's route and keys, and its own processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.serve.admission import active_keys
from holdfast.serve.challenger import ShadowProcess
from holdfast.serve.children import Background, ChildSpec, WorkerProcess
from holdfast.serve.control import (
    Challenger,
    ChallengerFailed,
    Home,
    Keys,
    Loaded,
    LoadFailed,
    Message,
    Route,
)
from holdfast.serve.dashboard import DashboardProcess
from holdfast.serve.holdings import Holdings
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.registry import Registry, RegistryWatch

ROUTE_POLL_S: Final = 0.2
ACTOR: Final = "serve"
"""Who acts, where nobody asked over the network: whoever may write into the folder of deployments."""
RELOAD_AFTER_FAILURE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Served:
    """A deployment to serve, and what belongs to it."""

    deployment: Deployment
    background: Sequence[ChildSpec] = ()
    """Commands that run as long as the service does, restarted when they end."""
    dashboard: Sequence[str] = ()
    """Command that answers requests for pages; none: it has no pages."""
    keep_dashboard: bool = False
    """Whether it is started before anybody looks."""


class Followed:
    """Keeps the workers up to date about one deployment.

    Args:
        served: what to follow.
        workers: those that live and are to stay.
        all_workers: and those that are on their way out.
        say: prints one line for the operator.
        memory_mb: of the whole service; None: the deployment is alone in it.
    """

    def __init__(
        self,
        served: Served,
        workers: Callable[[], list[WorkerProcess]],
        all_workers: Callable[[], list[WorkerProcess]],
        say: Callable[[str], None],
        memory_mb: Callable[[], int] | None = None,
    ) -> None:
        self.deployment = served.deployment
        self.name = served.deployment.name
        self.route = Route(-1, None, "")
        """As the registry has it."""
        self.withdrawn = False
        self.dashboard = DashboardProcess(served.dashboard, keep=served.keep_dashboard)
        self.shadow = ShadowProcess()
        self.background = [Background(spec) for spec in served.background]
        self._dashboard_path = ""
        self._workers = workers
        self._all_workers = all_workers
        self._say = say
        self._rolls_out = False
        self._ticket = 0
        self._keys = Keys(())
        self._keys_seen: tuple[int, int] | None = None
        self._poll_at_s = 0.0
        self._resend_at_s: float | None = None
        self._registry: Registry | None = None
        self._watch: RegistryWatch | None = None
        self._holdings = Holdings(served.deployment, workers, self._send, self._withdraw, memory_mb=memory_mb)

    def open(self, undo: contextlib.ExitStack) -> None:
        """Open what workers need to know of: the dashboard's socket."""
        self._dashboard_path = undo.enter_context(self.dashboard.listen())
        undo.callback(self.shadow.close)

    def read_registry(self, undo: contextlib.ExitStack) -> None:
        """Open the registry and read it for the first time."""
        # The workers load their libraries while we load the registry's.
        from holdfast.registry import Registry

        self._registry = undo.enter_context(Registry.open(self.deployment.registry_url, SystemClock()))
        self._watch = undo.enter_context(self._registry.watch())
        self._holdings.registry = self._registry
        self._poll(self._registry)

    def note(self, action: str) -> None:
        """Enter in the deployment's audit that it is taken up or left out, if that can be written.

        A folder that was moved away has none here any more.
        """
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        if self._registry is not None and self.deployment.folder.exists():
            try:
                self._registry.audit.add(actor=ACTOR, action=action, target=self.name)
            except (HoldfastError, SQLAlchemyError) as error:
                self._say(f"the audit cannot be written: {error}")

    @property
    def home(self) -> Home:
        """As a new worker needs it."""
        deployment = self.deployment
        return Home(
            str(deployment.folder),
            deployment.checklist,
            deployment.checklist_hash,
            self._holdings.holds,
            self._dashboard_path,
        )

    def greet(self, worker: WorkerProcess) -> None:
        """Tell a new worker what is known."""
        self._send(worker, self._keys)
        if self.route.generation >= 0:
            self._send(worker, self._route_to_follow())

    def tend(self, now_s: float, *, announced: bool) -> None:
        """One turn."""
        for child in self.background:
            if child.spec.during == "rollout" and not self._rolls_out:
                child.rest()
            elif announced:  # a keeper or monitor has nothing to do before there is a service
                self._repeat(child.keep_alive(now_s))
        if announced:
            self._repeat(self.shadow.tend(now_s))
        self._repeat(self.dashboard.tend(answering=announced))
        self._holdings.tend()
        if now_s >= self._poll_at_s and self._registry is not None:
            self._poll_at_s = now_s + ROUTE_POLL_S
            if self._watch is None or self._watch.may_have_changed():
                self._poll(self._registry)
        if self._resend_at_s is not None and now_s >= self._resend_at_s:
            self._resend_at_s = None
            self._broadcast()

    def hear(self, worker: WorkerProcess, message: Message, *, current: bool, announced: bool) -> None:
        """Take in what a worker says of this deployment.

        Args:
            worker: who says it.
            message: what.
            current: whether the worker is to stay.
            announced: whether the operator knows of the service.
        """
        if isinstance(message, Loaded):
            before = worker.answered.get(self.name, (-1, None))[1]
            worker.answered[self.name] = (message.generation, message.version)
            if announced and message.version != before and message.version is not None:
                self._say(f"worker {worker.index}: version {message.version} answers")
        elif isinstance(message, LoadFailed):
            worker.answered[self.name] = (message.generation, message.answering)
            instead = "" if message.answering is None else f"; version {message.answering} answers"
            self._say(
                f"worker {worker.index}: version {message.version} cannot be loaded: {message.error}{instead}"
            )
            if current and not self.withdrawn:
                self._resend_at_s = time.monotonic() + RELOAD_AFTER_FAILURE_S
        elif isinstance(message, ChallengerFailed):
            self._say(
                f"worker {worker.index}: the challenger, version {message.version}, cannot be loaded: "
                f"{message.error}"
            )
            return
        self._holdings.hear(worker, message)

    def state(self, workers: Sequence[WorkerProcess | None]) -> str | None:
        """In words, once all of these workers have followed the route; None before."""
        if self.route.generation < 0:
            return None
        answered = [None if one is None else one.answered.get(self.name) for one in workers]
        if any(one is None or one[0] != self.route.generation for one in answered):
            return None
        if self.route.version is None:
            return "no model version yet: register one with `holdfast register`"
        answering = {one[1] for one in answered if one is not None}
        if answering == {self.route.version}:
            return f"version {self.route.version}"
        instead = [version for version in sorted(filter(None, answering)) if version != self.route.version]
        also = f", version {' and '.join(instead)} answers" if instead else ""
        return f"version {self.route.version} NOT loaded{also}"

    def replace(self, fresh: Deployment) -> None:
        """Go on with the checklist as it was read again."""
        self.deployment = self._holdings.deployment = fresh
        self._poll_at_s = 0.0
        self._look_again()
        self.stop()

    def stop(self) -> None:
        """Ask the dashboard and the background to end."""
        self.dashboard.stop()
        for child in self.background:
            child.stop()

    def processes(self) -> list[Any]:
        """The dashboard and the background."""
        processes = [self.dashboard.process, *(child.process for child in self.background)]
        return [process for process in processes if process is not None]

    def _repeat(self, said: str | None) -> None:
        if said is not None:
            self._say(said)

    def _send(self, worker: WorkerProcess, message: Message) -> None:
        worker.send(msgspec.structs.replace(message, model=self.name))

    def _withdraw(self, ticket: int, *, withdrawn: bool) -> None:
        """Unload the whole model from all workers, or bring it back; they answer with the ticket."""
        if not withdrawn and self._registry is not None:
            self._poll_route(self._registry)  # the champion of this moment comes back, not the last one seen
        self._ticket = ticket
        self.withdrawn = withdrawn
        self._resend_at_s = None
        self._broadcast()
        self.shadow.follow(self.deployment, None if withdrawn else self.route.challenger)

    def _route_to_follow(self) -> Route:
        if self.withdrawn:
            return Route(self.route.generation, None, "", withdrawn=True, ticket=self._ticket)
        return msgspec.structs.replace(self.route, ticket=self._ticket)

    def _broadcast(self) -> None:
        for worker in self._workers():
            self._send(worker, self._route_to_follow())

    def _look_again(self) -> None:
        """Read the registry at the next turn, whatever has become of it."""
        if self._watch is not None:
            self._watch.forget()

    def _poll(self, registry: Registry) -> None:
        self._poll_keys(registry)
        self._poll_route(registry)

    def _poll_route(self, registry: Registry) -> None:
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        try:
            table = registry.route()
            if table.generation == self.route.generation and table.champion == self.route.version:
                return
            folder = "" if table.champion is None else self._artifact(registry, table.champion)
            before = registry.champion_before()
            before_folder = "" if before is None else self._artifact(registry, before)
            challenger = None
            if table.challenger is not None:
                found = table.challenger
                challenger = Challenger(
                    found.version,
                    self._artifact(registry, found.version),
                    found.rollout,
                    found.mode == "canary",
                    found.share,
                    found.assignment_key,
                )
            self._rolls_out = registry.rollouts.open() is not None
        except (HoldfastError, SQLAlchemyError) as error:
            self._say(f"the route table cannot be read: {error}")
            self._look_again()
            self._poll_at_s = time.monotonic() + 1.0
            return
        self.route = Route(table.generation, table.champion, folder, challenger, before, before_folder)
        self._broadcast()
        self.shadow.follow(self.deployment, None if self.withdrawn else challenger)

    def _artifact(self, registry: Registry, version: str) -> str:
        return str(self.deployment.artifacts_folder / registry.version(version).artifact_folder)

    def _poll_keys(self, registry: Registry) -> None:
        """Tell the workers which keys are active, when that has changed."""
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        if self.deployment.checklist.security.auth == "none":
            return
        try:
            seen = registry.api_keys.fingerprint()
            if seen == self._keys_seen:
                return
            entries = active_keys(registry)
        except (HoldfastError, SQLAlchemyError) as error:
            self._say(f"the API keys cannot be read, those known stay valid: {error}")
            self._look_again()
            return
        self._keys = Keys(entries)
        self._keys_seen = seen
        security = self.deployment.checklist.security
        if not (entries or security.api_key_hashes or security.jwt_jwks):
            self._say("nobody can ask yet: make a key with `holdfast key create`")
        for worker in self._all_workers():
            self._send(worker, self._keys)
