"""The supervisor: opens the sockets, keeps children alive, follows the deployments, drains.

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
from typing import Any, Final

from holdfast.errors import HoldfastError
from holdfast.serve.agreement import check_agreement, check_names
from holdfast.serve.children import Place, WorkerProcess, exit_text, start_worker
from holdfast.serve.control import DEPLOYMENTS, Drain, Loaded, LoadFailed, Start
from holdfast.serve.followed import Followed, Served
from holdfast.serve.gathering import LOOK_EVERY_S, Gathering
from holdfast.serve.preflight import check_deployment, only_one, published
from holdfast.serve.rates import make_rates_file
from holdfast.serve.sockets import open_sockets, reserve_port
from holdfast.spec import Deployment

TICK_S: Final = 0.1
DRAIN_NOTICE_S: Final = 0.25
DRAIN_S: Final = 35.0
BACKGROUND_STOP_S: Final = 20.0
MOST_EARLY_DEATHS: Final = 5
"""A worker that dies this often before it was ever ready will not get better by itself."""


class Supervisor:
    """Runs the service until a signal.

    Args:
        served: at least one deployment; what they must agree on is the first's.
        say: prints one line for the operator.
        gathering: where others come and go.
    """

    def __init__(
        self, served: Sequence[Served], say: Callable[[str], None], gathering: Gathering | None = None
    ) -> None:
        self._say = say
        self._selector = selectors.DefaultSelector()
        self._places: list[Place] = []
        self._several = len(served) > 1 or gathering is not None
        self._gathering = gathering
        self._followed = [self._follow(one) for one in served]
        self._by_name = {one.name: one for one in self._followed}
        self._held: dict[str, contextlib.ExitStack] = {}
        """What each deployment has of this process: locks, sockets, its registry."""
        self._coming: list[Followed] = []
        """Not yet said to answer."""
        self._going: list[Followed] = []
        """Until no worker has them any more."""
        self._gather_at_s = 0.0
        self._announced = False
        self._signals: list[int] = []
        self._failed: str | None = None
        self._url = ""
        self._grpc_address = ""
        self._reload_wanted = False

    def _follow(self, served: Served) -> Followed:
        return Followed(
            served,
            self._workers,
            self._all_workers,
            self._saying(served.deployment.name),
            self._memory_mb if self._several else None,
        )

    def _saying(self, name: str) -> Callable[[str], None]:
        return (lambda line: self._say(f"{name}: {line}")) if self._several else self._say

    def run(self) -> int:
        """Serve; 0 after a drained end, 1 after a forced one or one without hope.

        Raises:
            HoldfastError: the service cannot start.
        """
        deployments = [one.deployment for one in self._followed]
        check_agreement(deployments)
        for deployment in deployments:
            check_deployment(deployment)
        with contextlib.ExitStack() as undo:
            for followed in self._followed:
                self._held[followed.name] = undo.enter_context(contextlib.ExitStack())
                self._take(followed)
            checklist = deployments[0].checklist
            target = checklist.target
            sockets, port = open_sockets(target.host, target.port, checklist.compute.cores)
            for index, one in enumerate(sockets):
                undo.callback(one.close)
                self._places.append(Place(index, one))
            scheme = "https" if checklist.security.tls_certificate else "http"
            host = f"[{target.host}]" if ":" in target.host.strip("[]") else target.host
            self._url = f"{scheme}://{host}:{port}"
            if target.grpc_port is not None:
                reserved, grpc_port = reserve_port(target.host, target.grpc_port)
                undo.callback(reserved.close)
                self._grpc_address = f"{host}:{grpc_port}"
            undo.callback(self._let_go_of_all)
            undo.enter_context(self._handle_signals())
            undo.callback(self._kill_all)
            for followed in self._followed:
                self._open(followed)
            for place in self._places:
                place.current = self._start(place)
            for followed in self._followed:
                followed.read_registry(self._held[followed.name])
            while not self._signals and self._failed is None:
                self._tick()
            if self._failed is not None:
                self._say(self._failed)
                self._kill_all()
                return 1
            return self._drain_all()

    # One turn

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._reload_wanted:
            self._reload_wanted = False
            self._reload()
        self._gather(now_s)
        for place in self._places:
            self._tend(place, now_s)
        for followed in self._followed:
            followed.tend(now_s, announced=self._announced)
        if not self._announced:
            self._announce()
        elif self._coming or self._going:
            self._welcome()
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
            try:
                place.current = self._start(place)
            except OSError as error:
                self._say(place.wait_after(error, now_s))

    def _start(self, place: Place) -> WorkerProcess:
        copies = [one.shadow.copies for one in self._followed]
        worker = start_worker(place.index, place.listening, copies)
        self._selector.register(worker.control, selectors.EVENT_READ, (place, worker))
        import holdfast

        homes = tuple(one.home for one in self._followed)
        worker.send(
            Start(
                place.index,
                worker.replica,
                holdfast.__version__,
                homes,
                self._grpc_address,
                several=self._several,
            )
        )
        for followed in self._followed:
            followed.greet(worker)
        return worker

    def _bury(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.control)
        worker.control.close()
        # Loads numpy, for which the first worker need not wait.
        from holdfast.telemetry import retire

        for followed in self._followed:
            with contextlib.suppress(OSError):  # a full disk: its file is counted as it stands
                retire(followed.deployment.run_folder, worker.replica)

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
        followed = self._by_name.get(message.model)
        if followed is None:
            return
        current = worker is place.current
        followed.hear(worker, message, current=current, announced=self._announced)
        if not isinstance(message, Loaded | LoadFailed) or len(worker.answered) < len(self._followed):
            return
        place.was_ready = True
        # One that has nothing to answer with must not take the place of one that has.
        loaded = isinstance(message, Loaded) or any(
            version is not None for _, version in worker.answered.values()
        )
        if current and loaded:
            for old in place.leaving:
                if not old.draining:
                    old.draining = True
                    old.send(Drain(0.0))

    def _announce(self) -> None:
        workers = [place.current for place in self._places]
        states = [one.state(workers) for one in self._followed]
        if any(one is None for one in states):
            return
        self._announced = True
        count = len(workers)
        also = f", gRPC at {self._grpc_address}" if self._grpc_address else ""
        run_by = f"{count} worker{'s' if count > 1 else ''}"
        if not self._several:
            self._say(f"{self._followed[0].name} at {self._url}{also}, {states[0]}, {run_by}")
            return
        self._say(f"{len(states)} deployments at {self._url}{also}, {run_by}")
        for followed, state in zip(self._followed, states, strict=True):
            self._say(f"{followed.name} at {self._url}{DEPLOYMENTS}{followed.name}, {state}")

    def _workers(self) -> list[WorkerProcess]:
        current = [place.current for place in self._places]
        return [worker for worker in current if worker is not None and worker.process.poll() is None]

    def _all_workers(self) -> list[WorkerProcess]:
        return [
            worker
            for place in self._places
            for worker in (place.current, *place.leaving)
            if worker is not None
        ]

    def _memory_mb(self) -> int:
        return sum(one.deployment.checklist.compute.memory_mb for one in self._followed)

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
        """Read the checklists again and replace every worker by one that has them, one socket, no gap."""
        try:
            fresh = [Deployment.open(one.deployment.folder, os.environ) for one in self._followed]
            for one in fresh:
                check_deployment(one)
            check_agreement(fresh)
            check_names([one.name for one in self._followed], fresh)
        except HoldfastError as error:
            self._say(f"the checklist is not taken over: {error}")
            return
        old, new = self._followed[0].deployment.checklist, fresh[0].checklist
        if new.target != old.target or new.compute.cores != old.compute.cores:
            self._say("a new host, port or number of cores needs a restart; the rest is taken over")
        else:
            self._say("the checklist is taken over")
        for followed, one in zip(self._followed, fresh, strict=True):
            followed.replace(one)
        self._replace_workers()

    def _replace_workers(self) -> None:
        for place in self._places:
            if place.current is not None:
                place.leaving.append(place.current)
            place.current = None
            place.start_at_s = 0.0

    # Deployments that come and go

    def _take(self, followed: Followed) -> None:
        """Nobody else serves it from now on."""
        run_folder = followed.deployment.run_folder
        run_folder.mkdir(parents=True, exist_ok=True)
        self._held[followed.name].enter_context(only_one(run_folder))
        make_rates_file(run_folder)

    def _open(self, followed: Followed) -> None:
        held, deployment = self._held[followed.name], followed.deployment
        followed.open(held)
        held.enter_context(
            published(deployment.run_folder, self._url, self._grpc_address or None, deployment.name)
        )

    def _let_go_of_all(self) -> None:
        for held in self._held.values():
            held.close()

    def _gather(self, now_s: float) -> None:
        """Take up what has come into the folder and leave out what has gone: with fresh workers, no gap."""
        if self._gathering is None or not self._announced or now_s < self._gather_at_s:
            return
        if any(place.leaving or place.current is None for place in self._places) or self._going:
            return  # one change after another
        self._gather_at_s = now_s + LOOK_EVERY_S
        changes = self._gathering.look([one.deployment for one in self._followed])
        for line in changes.refused:
            self._say(line)
        coming = []
        for one in map(self._follow, changes.added):
            if self._take_up(one):
                coming.append(one)
            else:
                self._gathering.refuse(one.deployment.folder)
        going = [one for one in self._followed if one.deployment.folder in changes.gone]
        if not coming and not going:
            return
        self._followed = [one for one in self._followed if one not in going] + coming
        self._by_name = {one.name: one for one in self._followed}
        self._coming, self._going = coming, going
        for one in going:
            one.note("service.remove")
        self._replace_workers()

    def _take_up(self, followed: Followed) -> bool:
        held = self._held[followed.name] = contextlib.ExitStack()
        try:
            self._take(followed)
            self._open(followed)
            followed.read_registry(held)
            followed.note("service.add")
        except (HoldfastError, OSError) as error:
            self._say(f"{followed.name} is not taken up: {error}")
            self._held.pop(followed.name).close()
            return False
        return True

    def _welcome(self) -> None:
        if any(place.leaving for place in self._places):
            return  # a worker that knows nothing of those that came may still take up a connection
        workers = [place.current for place in self._places]
        for followed in list(self._coming):
            state = followed.state(workers)
            if state is not None:
                self._coming.remove(followed)
                self._say(f"{followed.name} at {self._url}{DEPLOYMENTS}{followed.name}, {state}")
        if self._going:
            for followed in list(self._going):
                followed.stop()
                followed.shadow.stop()
                if any(process.poll() is None for process in followed.processes()):
                    continue  # its keeper commits what is left
                self._going.remove(followed)
                self._held.pop(followed.name).close()
                self._say(f"{followed.name} is taken away")

    def _drain_all(self) -> int:
        self._say("draining")
        for place in self._places:
            # The workers' copies are now the last: what they close is closed.
            place.listening.close()
        workers = self._all_workers()
        for worker in workers:
            worker.send(Drain(DRAIN_NOTICE_S, last_to_listen=True))
        forced = not self._wait_for([worker.process for worker in workers], DRAIN_S)
        for worker in workers:
            if forced:
                worker.process.kill()
                worker.process.wait()
            self._bury(worker)
        everyone = [*self._followed, *self._going]
        for followed in everyone:
            followed.stop()
        for followed in everyone:
            followed.shadow.stop()
        processes = [process for one in everyone for process in one.processes()]
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

    def _kill_all(self) -> None:
        processes = [worker.process for worker in self._all_workers()]
        for followed in (*self._followed, *self._going):
            followed.shadow.kill()
            processes += followed.processes()
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def serve_several(served: Sequence[Served], gathering: Gathering | None = None) -> int:
    """Serve deployments together, in the same workers on one port, until SIGTERM or SIGINT, then drain.

    Prints one line when the service answers (URL, version, workers) and one line per event after that. Each
    deployment keeps its own checklist, registry, log, keys and limits. What is the service's as a whole they
    must agree on: host, ports, TLS, cores.

    Args:
        served: at least one.
        gathering: a folder from which others are taken up, and left out again, while the service runs.

    Returns:
        0 after a drained end, 1 after a forced one (a second signal) or if the workers cannot start.

    Raises:
        AgreementError: two have one name, or differ in what is the whole service's.
        ExposureError: the address is open to strangers.
        ListenError: the address is taken.
        ServeError: a folder is being served already.
    """
    return Supervisor(served, _say, gathering).run()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more, and the service goes on
        print(f"holdfast: {line}", file=sys.stdout, flush=True)  # noqa: T201 - the service's operator reads this
