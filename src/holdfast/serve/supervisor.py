"""The supervisor: opens the sockets, keeps children alive, follows the route table, drains.

It answers no request itself. One thread, one loop; whatever it has to do next stands in its fields.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.serve.admission import KeyEntry
from holdfast.serve.challenger import ShadowProcess
from holdfast.serve.children import (
    Background,
    ChildSpec,
    Place,
    WorkerProcess,
    exit_text,
    start_worker,
)
from holdfast.serve.control import Challenger, ChallengerFailed, Drain, Keys, Loaded, LoadFailed, Route, Start
from holdfast.serve.dashboard import DashboardProcess
from holdfast.serve.holdings import Holdings
from holdfast.serve.preflight import check_deployment, only_one, published
from holdfast.serve.rates import make_rates_file
from holdfast.serve.sockets import open_sockets, reserve_port
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.registry import Registry

ROUTE_POLL_S: Final = 0.2
TICK_S: Final = 0.1
DRAIN_NOTICE_S: Final = 0.25
DRAIN_S: Final = 35.0
BACKGROUND_STOP_S: Final = 20.0
RELOAD_AFTER_FAILURE_S: Final = 5.0
MOST_EARLY_DEATHS: Final = 5
"""A worker that dies this often before it was ever ready will not get better by itself."""


class Supervisor:
    """Runs the service until a signal.

    Args:
        deployment: what to serve.
        background: commands to run beside the workers.
        say: prints one line for the operator.
        dashboard: command that answers requests for pages, see `DashboardProcess`.
    """

    def __init__(
        self,
        deployment: Deployment,
        background: Sequence[ChildSpec],
        say: Callable[[str], None],
        dashboard: Sequence[str] = (),
    ) -> None:
        self._deployment = deployment
        self._dashboard = DashboardProcess(dashboard)
        self._dashboard_path = ""
        self._background = [Background(spec) for spec in background]
        self._say = say
        self._selector = selectors.DefaultSelector()
        self._places: list[Place] = []
        self._route = Route(-1, None, "")
        self._rolls_out = False
        self._keys = Keys(())
        self._keys_seen: tuple[int, int] | None = None
        self._poll_at_s = 0.0
        self._resend_at_s: float | None = None
        self._announced = False
        self._signals: list[int] = []
        self._failed: str | None = None
        self._url = ""
        self._grpc_address = ""
        self._reload_wanted = False
        self._holdings = Holdings(deployment, self._workers)
        self._shadow = ShadowProcess()

    def run(self) -> int:
        """Serve; 0 after a drained end, 1 after a forced one or one without hope.

        Raises:
            HoldfastError: the service cannot start.
        """
        deployment = self._deployment
        check_deployment(deployment)
        run_folder = deployment.run_folder
        run_folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            undo.enter_context(only_one(run_folder))
            make_rates_file(run_folder)
            target = deployment.checklist.target
            sockets, port = open_sockets(target.host, target.port, deployment.checklist.compute.cores)
            for index, one in enumerate(sockets):
                undo.callback(one.close)
                self._places.append(Place(index, one))
            scheme = "https" if deployment.checklist.security.tls_certificate else "http"
            host = f"[{target.host}]" if ":" in target.host.strip("[]") else target.host
            self._url = f"{scheme}://{host}:{port}"
            if target.grpc_port is not None:
                reserved, grpc_port = reserve_port(target.host, target.grpc_port)
                undo.callback(reserved.close)
                self._grpc_address = f"{host}:{grpc_port}"
            self._dashboard_path = undo.enter_context(self._dashboard.listen())
            undo.enter_context(self._handle_signals())
            undo.callback(self._shadow.close)
            undo.callback(self._kill_all)
            undo.enter_context(published(run_folder, self._url, self._grpc_address or None, deployment.name))
            for place in self._places:
                place.current = self._start(place)
            # The workers load their libraries while we load the registry's.
            from holdfast.registry import Registry

            registry = undo.enter_context(Registry.open(deployment.registry_url, SystemClock()))
            self._holdings.registry = registry
            self._poll_keys(registry)
            self._poll_route(registry)
            while not self._signals and self._failed is None:
                self._tick(registry)
            if self._failed is not None:
                self._say(self._failed)
                self._kill_all()
                return 1
            return self._drain_all()

    # One turn

    def _tick(self, registry: Registry) -> None:
        now_s = time.monotonic()
        if self._reload_wanted:
            self._reload_wanted = False
            self._reload()
        for place in self._places:
            self._tend(place, now_s)
        for child in self._background:
            if child.spec.during == "rollout" and not self._rolls_out:
                child.rest()
            elif self._announced:  # a keeper or monitor has nothing to do before there is a service
                said = child.keep_alive(now_s)
                if said is not None:
                    self._say(said)
        if self._announced:
            said = self._shadow.tend(now_s)
            if said is not None:
                self._say(said)
        said = self._dashboard.tend()
        if said is not None:
            self._say(said)
        self._holdings.tend()
        if now_s >= self._poll_at_s:
            self._poll_at_s = now_s + ROUTE_POLL_S
            self._poll_keys(registry)
            self._poll_route(registry)
        if self._resend_at_s is not None and now_s >= self._resend_at_s:
            self._resend_at_s = None
            self._broadcast()
        if not self._announced:
            self._announce()
        self._listen(TICK_S)

    def _tend(self, place: Place, now_s: float) -> None:
        for process in list(place.leaving):
            if process.process.poll() is not None:
                self._bury(process)
                place.leaving.remove(process)
        current = place.current
        if current is not None and current.process.poll() is not None:
            place.current = None
            code = current.process.returncode
            if not place.was_ready:
                place.early_deaths += 1
                if place.early_deaths >= MOST_EARLY_DEATHS or code == 2:
                    self._failed = f"worker {place.index} cannot start ({exit_text(code)}); see above"
            wait_s = place.backoff.next_s(now_s - current.born_s)
            place.start_at_s = now_s + wait_s
            self._say(
                f"worker {place.index} pid {current.process.pid} ended ({exit_text(code)}); starting again"
                + (f" in {wait_s:.1f} s" if wait_s else "")
            )
            self._bury(current)
        if place.current is None and now_s >= place.start_at_s and self._failed is None:
            place.current = self._start(place)

    def _start(self, place: Place) -> WorkerProcess:
        worker = start_worker(place.index, place.listening, self._shadow.copies)
        self._selector.register(worker.control, selectors.EVENT_READ, (place, worker))
        deployment = self._deployment
        import holdfast

        worker.send(
            Start(
                place.index,
                worker.replica,
                str(deployment.folder),
                deployment.checklist,
                deployment.checklist_hash,
                holdfast.__version__,
                self._holdings.holds,
                self._grpc_address,
                self._dashboard_path,
            )
        )
        worker.send(self._keys)
        if self._route.generation >= 0:
            worker.send(self._route)
        return worker

    def _bury(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.control)
        worker.control.close()
        # Loads numpy, for which the first worker need not wait.
        from holdfast.telemetry import retire

        retire(self._deployment.run_folder, worker.replica)

    def _listen(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup.recv(4096)
                continue
            place, worker = key.data
            try:
                data = worker.control.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(worker.control)
                continue
            for message in worker.reader.feed(data):
                self._hear(place, worker, message)

    def _hear(self, place: Place, worker: WorkerProcess, message: Any) -> None:
        if isinstance(message, Loaded):
            before = worker.version
            worker.generation, worker.version = message.generation, message.version
            place.was_ready = True
            if self._announced and message.version != before and message.version is not None:
                self._say(f"worker {place.index}: version {message.version} answers")
            if worker is place.current:
                for old in place.leaving:
                    if not old.draining:
                        old.draining = True
                        old.send(Drain(0.0))
        elif isinstance(message, LoadFailed):
            worker.generation = message.generation
            place.was_ready = True
            self._say(f"worker {place.index}: version {message.version} cannot be loaded: {message.error}")
            self._resend_at_s = time.monotonic() + RELOAD_AFTER_FAILURE_S
        elif isinstance(message, ChallengerFailed):
            self._say(
                f"worker {place.index}: the challenger, version {message.version}, cannot be loaded: "
                f"{message.error}"
            )
        else:
            self._holdings.hear(worker, message)

    def _poll_route(self, registry: Registry) -> None:
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        try:
            table = registry.route()
            if table.generation == self._route.generation and table.champion == self._route.version:
                return
            folder = "" if table.champion is None else self._artifact(registry, table.champion)
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
            self._poll_at_s = time.monotonic() + 1.0
            return
        self._route = Route(table.generation, table.champion, folder, challenger)
        self._broadcast()
        self._shadow.follow(self._deployment, challenger)

    def _artifact(self, registry: Registry, version: str) -> str:
        return str(self._deployment.artifacts_folder / registry.version(version).artifact_folder)

    def _broadcast(self) -> None:
        for place in self._places:
            if place.current is not None:
                place.current.send(self._route)

    def _poll_keys(self, registry: Registry) -> None:
        """Tell the workers which keys are active, when that has changed."""
        from sqlalchemy.exc import SQLAlchemyError  # loaded with the registry

        if self._deployment.checklist.security.auth == "none":
            return
        try:
            seen = registry.api_keys.fingerprint()
            if seen == self._keys_seen:
                return
            entries = tuple(
                KeyEntry(
                    key.key_id,
                    bytes.fromhex(key.sha256),
                    key.scopes,
                    key.expires_at_us,
                    key.requests_per_s,
                    key.number,
                )
                for key in registry.api_keys.all()
                if key.revoked_at_us is None
            )
        except (HoldfastError, SQLAlchemyError) as error:
            self._say(f"the API keys cannot be read, those known stay valid: {error}")
            return
        self._keys = Keys(entries)
        self._keys_seen = seen
        security = self._deployment.checklist.security
        if not (entries or security.api_key_hashes or security.jwt_jwks):
            self._say("nobody can ask yet: make a key with `holdfast key create`")
        for place in self._places:
            for worker in (place.current, *place.leaving):
                if worker is not None:
                    worker.send(self._keys)

    def _announce(self) -> None:
        workers = [place.current for place in self._places]
        if self._route.generation < 0:
            return
        if any(worker is None or worker.generation != self._route.generation for worker in workers):
            return
        self._announced = True
        name = self._deployment.name
        versions = {worker.version for worker in workers if worker is not None}
        if self._route.version is None:
            state = "no model version yet: register one with `holdfast register`"
        elif versions == {self._route.version}:
            state = f"version {self._route.version}"
        else:
            state = f"version {self._route.version} NOT loaded"
        count = len(workers)
        also = f", gRPC at {self._grpc_address}" if self._grpc_address else ""
        self._say(f"{name} at {self._url}{also}, {state}, {count} worker{'s' if count > 1 else ''}")

    def _workers(self) -> list[WorkerProcess]:
        current = [place.current for place in self._places]
        return [worker for worker in current if worker is not None and worker.process.poll() is None]

    # Signals and the end

    @contextlib.contextmanager
    def _handle_signals(self) -> Any:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the socket's own parameter
        theirs.setblocking(False)  # noqa: FBT003 - the socket's own parameter
        self._wakeup = ours
        self._selector.register(ours, selectors.EVENT_READ, None)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        handlers = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        }
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._signals.append(number)
        elif number == signal.SIGHUP:
            self._reload_wanted = True

    def _reload(self) -> None:
        """Read the checklist again and replace every worker by one that has it, one socket, no gap."""
        try:
            fresh = Deployment.open(self._deployment.folder, os.environ)
            check_deployment(fresh)
        except HoldfastError as error:
            self._say(f"the checklist is not taken over: {error}")
            return
        old = self._deployment.checklist
        if fresh.checklist.target != old.target or fresh.checklist.compute.cores != old.compute.cores:
            self._say("a new host, port or number of cores needs a restart; the rest is taken over")
        self._deployment = self._holdings.deployment = fresh
        self._poll_at_s = 0.0
        for place in self._places:
            if place.current is not None:
                place.leaving.append(place.current)
            place.current = None
            place.start_at_s = 0.0
        self._dashboard.stop()
        for child in self._background:
            child.stop()

    def _drain_all(self) -> int:
        self._say("draining")
        for place in self._places:
            # The workers' copies are now the last: what they close is closed.
            place.listening.close()
        workers = [
            worker
            for place in self._places
            for worker in (place.current, *place.leaving)
            if worker is not None
        ]
        for worker in workers:
            worker.send(Drain(DRAIN_NOTICE_S, last_to_listen=True))
        forced = not self._wait_for([worker.process for worker in workers], DRAIN_S)
        for worker in workers:
            if forced:
                worker.process.kill()
                worker.process.wait()
            self._bury(worker)
        self._dashboard.stop()
        for child in self._background:
            child.stop()
        self._shadow.stop()
        processes = self._background_processes()
        if forced or not self._wait_for(processes, BACKGROUND_STOP_S):
            forced = True
            self._kill_all()
        self._say("stopped" if not forced else "stopped by force")
        return 1 if forced else 0

    def _wait_for(self, processes: Sequence[Any], longest_s: float) -> bool:
        """Whether all ended by themselves; a second signal or the time says no."""
        deadline_s = time.monotonic() + longest_s
        while any(process.poll() is None for process in processes):
            if len(self._signals) > 1 or time.monotonic() > deadline_s:
                return False
            self._listen(0.05)
        return True

    def _background_processes(self) -> list[Any]:
        processes = [self._dashboard.process, *(child.process for child in self._background)]
        return [process for process in processes if process is not None]

    def _kill_all(self) -> None:
        self._shadow.kill()
        processes = self._background_processes()
        for place in self._places:
            processes += [worker.process for worker in (place.current, *place.leaving) if worker is not None]
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def serve(
    deployment: Deployment, *, background: Sequence[ChildSpec] = (), dashboard: Sequence[str] = ()
) -> int:
    """Serve a deployment until SIGTERM or SIGINT, then drain.

    Prints one line when the service answers (URL, version, workers) and one line per event after that.

    Args:
        deployment: with `[compute] cores` workers; `[target] port` 0 takes a free port.
        background: commands that run as long as the service does, restarted when they end.
        dashboard: command that answers requests for pages, started by the first of them with the number of
            its listening socket as last argument; none: the service has no pages.

    Returns:
        0 after a drained end, 1 after a forced one (a second signal) or if the workers cannot start.

    Raises:
        ExposureError: the address is open to strangers.
        ListenError: the address is taken.
        ServeError: the folder is being served already.
    """
    return Supervisor(deployment, background, _say, dashboard).run()


def _say(line: str) -> None:
    print(f"holdfast: {line}", file=sys.stdout, flush=True)  # noqa: T201 - the service's operator reads this
