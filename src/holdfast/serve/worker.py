"""One worker process, started by the supervisor.

`python -m holdfast.serve.worker LISTEN_FD CONTROL_FD COPIES_FD`
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import CHALLENGER_ARM, PINNED_ARM, LoadedModel, load_model, resident_bytes
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE
from holdfast.serve.admission import Admission
from holdfast.serve.app import make_app
from holdfast.serve.canary import Canary
from holdfast.serve.connection_state import WorkerState
from holdfast.serve.consent import ConsentBook
from holdfast.serve.control import (
    Challenger,
    ChallengerFailed,
    Drain,
    Keys,
    Loaded,
    LoadFailed,
    Message,
    Reader,
    Route,
    Start,
    frame,
    receive_one,
)
from holdfast.serve.copying import Copies
from holdfast.serve.opening import open_plane
from holdfast.serve.protocol import HotProtocol
from holdfast.serve.rates import RATES_FILE, RateSlots
from holdfast.serve.repository import Repository
from holdfast.serve.security import client_ca, make_tls, tls_pair
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.sockets import open_no_more
from holdfast.serve.tokens import TokenVerifier
from holdfast.serve.uvicorn_settings import uvicorn_config
from holdfast.serve.watch import Watch
from holdfast.spec import Deployment
from holdfast.spec.checklist import Checklist
from holdfast.telemetry import AccessLog, ServiceCounts, Traces, write_snapshot

if TYPE_CHECKING:
    from holdfast.serve.grpc_server import GrpcServer

SNAPSHOT_S = 0.5
BACKLOG = 2048
HANDSHAKE_S = 0.1
"""Time that connections half open at the end have to complete; a few round trips."""
LAST_REQUESTS_S = 1.0
"""Silence after which a draining worker takes a connection for idle: its client may be about to send."""
ORPHAN_DRAIN_S = 2.0
TOKEN_KEYS_RETRY_S = 10.0
"""Least time between two fetches of an identity provider's keys, whatever callers send."""
DRAIN_S = 30.0
LEAST_RUN_BYTES = 32 * 1024 * 1024
"""For runs even where the process alone fills its share of [compute] memory_mb."""
logger = logging.getLogger("holdfast.serve")


class Worker:
    """Everything one process does until it has drained.

    Args:
        start: the supervisor's first message.
        listening: the socket inherited from the supervisor.
        control: to the supervisor; its end means that the supervisor is gone.
        copies: to the challenger's own process, where there is one.
    """

    def __init__(
        self, start: Start, listening: socket.socket, control: socket.socket, copies: socket.socket
    ) -> None:
        self._copies = copies
        self._challenger: Endpoint | None = None
        self._start = start
        self._checklist = start.checklist
        self._deployment = Deployment(Path(start.folder), start.checklist, start.checklist_hash)
        self._listening = listening
        self._control = control
        self._counts = ServiceCounts()
        self._state = WorkerState()
        self._ending = asyncio.Event()
        self._notice_s = 0.0
        self._last_to_listen = False
        self._drain_s = DRAIN_S
        self._answered_first_route = asyncio.Event()
        self._routes: asyncio.Queue[Route] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until told to drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        clock = SystemClock()
        plane = open_plane(self._deployment, f"worker-{self._start.index}", clock)
        slots = RateSlots(self._deployment.run_folder / RATES_FILE)
        security, folder = self._checklist.security, self._deployment.folder
        tokens = TokenVerifier(security, folder) if security.jwt_jwks else None
        admission = Admission(security, clock, slots, tokens)
        self._service = service = Service(self._checklist, plane, self._counts, clock, admission)
        service.keeps_standby = self._checklist.rollout.standby.microseconds > 0
        service.watch = self._open_watch(clock)
        key = os.environ.get(PSEUDONYM_KEY_VARIABLE)
        service.consents = ConsentBook(folder, key.encode() if key else None, clock)
        app = make_app(
            service,
            version=self._start.version,
            run_folder=self._deployment.run_folder,
            replica=self._start.replica,
            workers=self._checklist.compute.cores,
            dashboard=self._start.dashboard,
        )
        self._config = uvicorn_config(app, service)
        self._tls = make_tls(security, folder)
        _, self._writer = await asyncio.open_unix_connection(sock=self._control, limit=1 << 20)
        self._repository = service.repository = Repository(service, self._say, self._load_and_warm)
        # Before the first version answers, since the service is announced then.
        grpc_server = await self._start_grpc()
        reading = asyncio.create_task(self._read_control(_))
        loading = asyncio.create_task(self._follow_routes())
        holding = asyncio.create_task(self._repository.follow())
        ticking = [asyncio.create_task(self._every_second()), asyncio.create_task(self._write_counts())]
        if service.watch is not None:
            ticking.append(asyncio.create_task(service.watch.follow()))
        if tokens is not None:
            ticking.append(asyncio.create_task(self._follow_token_keys(tokens)))
        first = asyncio.create_task(self._answered_first_route.wait())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait([first, ending], return_when=asyncio.FIRST_COMPLETED)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        spare = self._listening.dup()
        spare.setblocking(False)  # noqa: FBT003 - the socket's own parameter
        ssl = None if self._tls is None else self._tls.context
        server = await loop.create_server(self._connection, sock=self._listening, ssl=ssl, backlog=BACKLOG)
        await ending
        if grpc_server is None:
            await self._drain(server, spare)
        else:
            await asyncio.gather(self._drain(server, spare), self._stop_grpc(grpc_server))
        for task in (reading, loading, holding, first, *ticking):
            task.cancel()
        if service.watch is not None:
            await service.watch.close()
        plane.close()
        service.consents.close()
        service.refresh_gauges()
        with contextlib.suppress(OSError):
            write_snapshot(self._deployment.run_folder, self._start.replica, self._counts)
        service.batcher.close()

    def _open_watch(self, clock: SystemClock) -> Watch | None:
        settings = self._checklist.logging
        if not settings.access_log and not settings.traces:
            return None
        traces = None
        if settings.traces:
            name, chance = self._deployment.name, random.Random().random  # noqa: S311 - no secret
            traces = Traces(name, self._start.replica, fraction=settings.trace_fraction, chance=chance)
        access = AccessLog(sys.stdout.fileno()) if settings.access_log else None
        return Watch(access, traces, self._counts, clock)

    async def _start_grpc(self) -> GrpcServer | None:
        if not self._start.grpc_address:
            return None
        from holdfast.serve.grpc_server import GrpcServer

        server = GrpcServer(self._service, self._start.version)
        security = self._checklist.security
        await server.start(
            self._start.grpc_address,
            tls_pair(security, self._deployment.folder),
            client_ca(security, self._deployment.folder),
        )
        return server

    async def _stop_grpc(self, server: GrpcServer) -> None:
        await asyncio.sleep(self._notice_s)
        await server.stop(self._drain_s)

    def _connection(self) -> HotProtocol:
        return HotProtocol(self._service, self._config, self._state)

    async def _drain(self, server: asyncio.AbstractServer, spare: socket.socket) -> None:
        """Not ready, then not accepting, then not reading; what was accepted is answered."""
        loop = asyncio.get_running_loop()
        give_up_s = time.monotonic() + self._drain_s
        self._service.draining = True
        await asyncio.sleep(self._notice_s)
        if self._last_to_listen:
            open_no_more(spare)
            await asyncio.sleep(min(HANDSHAKE_S, self._drain_s / 8))
        waiting = []
        with contextlib.suppress(OSError):
            while True:
                waiting.append(spare.accept()[0])
        server.close()
        spare.close()
        for connection in waiting:
            connection.setblocking(False)  # noqa: FBT003 - the socket's own parameter
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(
                    self._connection, connection, ssl=None if self._tls is None else self._tls.context
                )
        silence_s = min(LAST_REQUESTS_S, self._drain_s / 4)
        connections: Any = self._state.connections
        while connections and time.monotonic() < give_up_s:
            for connection in list(connections):
                connection.shutdown(silence_s)
            await asyncio.sleep(0.01)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._service.batcher.drained(), max(give_up_s - time.monotonic(), 0.01))

    async def _read_control(self, stream: asyncio.StreamReader) -> None:
        messages = Reader()
        while data := await stream.read(1 << 16):
            for message in messages.feed(data):
                if isinstance(message, Route):
                    self._routes.put_nowait(message)
                elif isinstance(message, Keys):
                    self._service.admission.replace_keys(message.entries)
                    self._state.known_heads.clear()
                elif isinstance(message, Drain):
                    self._notice_s = message.notice_s
                    self._last_to_listen = message.last_to_listen
                    self._ending.set()
                else:
                    self._repository.hear(message)
        # The supervisor is gone; nobody would restart us or collect our counts.
        self._drain_s = ORPHAN_DRAIN_S
        self._ending.set()
        await asyncio.sleep(2 * ORPHAN_DRAIN_S)
        os._exit(1)

    async def _follow_routes(self) -> None:
        for hold in self._start.holds:
            self._say(await self._repository.hold(hold))
        while True:
            route = await self._routes.get()
            while not self._routes.empty():
                route = self._routes.get_nowait()  # only the latest counts
            said = await self._load(route)
            await self._follow_challenger(route.challenger)
            self._say(said)
            self._answered_first_route.set()

    async def _load(self, route: Route) -> Message:
        service = self._service
        if route.version is None:
            return Loaded(route.generation, None)
        if service.champion is not None and service.champion.lane.version == route.version:
            service.generation = route.generation
            return Loaded(route.generation, route.version)
        held = service.find(route.version)
        try:
            model = (
                held.lane.model
                if held
                else await asyncio.to_thread(self._load_and_warm, Path(route.artifact), route.version)
            )
            service.install(model, route.generation, example_records(model, self._checklist))
        except HoldfastError as error:
            return LoadFailed(route.generation, route.version, str(error))
        except Exception as error:
            logger.exception("a model version cannot be loaded")
            return LoadFailed(route.generation, route.version, f"{type(error).__name__}: {error}")
        standby = service.standby
        if standby is not None:
            standby_s = self._checklist.rollout.standby.seconds
            asyncio.get_running_loop().call_later(standby_s, service.dismiss, standby)
        return Loaded(route.generation, route.version)

    async def _follow_challenger(self, challenger: Challenger | None) -> None:
        """Give the challenger its copies and its share, or take both away."""
        service, before = self._service, self._challenger
        copies = None if challenger is None else challenger.version
        service.set_copier(
            None if copies is None else Copies(self._copies, copies, self._counts.copy(copies))
        )
        if challenger is None or not challenger.canary:
            service.canary = self._challenger = None
        else:
            endpoint = service.find(challenger.version)
            if endpoint is None:
                artifact = Path(challenger.artifact)
                try:
                    model = await asyncio.to_thread(self._load_and_warm, artifact, challenger.version)
                except Exception as error:  # noqa: BLE001 - whatever its artifact does, the champion answers
                    self._counts.copy(challenger.version).load_failures += 1
                    service.canary = self._challenger = None
                    if before is not None:
                        service.unpin(before)
                    self._say(ChallengerFailed(challenger.version, f"{type(error).__name__}: {error}"))
                    return
                endpoint = service.add(model)
            if endpoint is not before:
                service.pin(endpoint)
                self._challenger = endpoint
            else:
                before = None
            endpoint.lane.arm = CHALLENGER_ARM
            place = (self._start.index, self._checklist.compute.cores)
            service.canary = Canary(
                endpoint,
                challenger,
                self._checklist.rollout.assign_by,
                place=place,
                counts=self._counts,
                chance=random.Random().random,  # noqa: S311 - no secret
            )
        if before is not None:
            if before is not service.champion:
                before.lane.arm = PINNED_ARM
            service.unpin(before)

    def _load_and_warm(self, artifact: Path, version: str) -> LoadedModel:
        compute = self._checklist.compute
        model = load_model(artifact, version, compute)
        # Half of what is left of this worker's share: a new champion is loaded and warmed beside the old one.
        left_bytes = compute.memory_mb * 1024 * 1024 / compute.cores - resident_bytes()
        model.warm_up(max(left_bytes, LEAST_RUN_BYTES) / 2)
        return model

    def _say(self, message: Message) -> None:
        self._writer.write(frame(message))

    async def _every_second(self) -> None:
        while True:
            self._state.renew_date()
            now_s = time.monotonic()
            connections: Any = self._state.connections
            self._counts.open_connections = len(connections)
            for connection in list(connections):
                connection.sweep(now_s)
            self._renew_certificate()
            await asyncio.sleep(1.0)

    def _renew_certificate(self) -> None:
        try:
            if self._tls is not None and self._tls.renew():
                logger.warning("a renewed certificate is in use")
        except HoldfastError as error:
            logger.warning("the old certificate stays in use: %s", error)

    async def _follow_token_keys(self, tokens: TokenVerifier) -> None:
        """Keep the identity provider's keys fresh; those held stay when they cannot be had."""
        refresh_s = self._checklist.security.jwt_refresh.microseconds / 1e6 if tokens.is_url else 1.0
        next_s = 0.0
        while True:
            now_s = time.monotonic()
            if now_s >= next_s or tokens.unknown_key_seen:
                next_s = now_s + refresh_s
                try:
                    if await asyncio.to_thread(tokens.refresh):
                        self._service.admission.forget_tokens()
                        self._state.known_heads.clear()
                except (HoldfastError, OSError) as error:
                    logger.warning("%s", error)
                    next_s = now_s + TOKEN_KEYS_RETRY_S
                await asyncio.sleep(TOKEN_KEYS_RETRY_S if tokens.is_url else 1.0)
            else:
                await asyncio.sleep(1.0)

    async def _write_counts(self) -> None:
        while True:
            self._service.refresh_gauges()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(
                    write_snapshot, self._deployment.run_folder, self._start.replica, self._counts
                )
            await asyncio.sleep(SNAPSHOT_S)


def example_records(model: LoadedModel, checklist: Checklist) -> list[dict[str, Any]]:
    """Up to three records of the reference, for documentation; none of private data."""
    if checklist.privacy.sensitivity == "high" or checklist.privacy.fields or not model.examples:
        return []
    names = [column.name for column in model.signature.columns]
    if any(name not in model.examples for name in names):
        return []
    rows = min(3, *(len(model.examples[name]) for name in names))
    return [{name: model.examples[name][row] for name in names} for row in range(rows)]


def main(arguments: list[str]) -> int:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="holdfast worker: %(levelname)s %(name)s: %(message)s")
    listening = socket.socket(fileno=int(arguments[0]))
    control = socket.socket(fileno=int(arguments[1]))
    copies = socket.socket(fileno=int(arguments[2]))
    try:
        start = receive_one(control)
    except EOFError:
        return 1
    if not isinstance(start, Start):
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(start, listening, control, copies))
    except HoldfastError as error:
        print(f"holdfast worker: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the process's own last word
        return 2
    return 0


async def _run(start: Start, listening: socket.socket, control: socket.socket, copies: socket.socket) -> None:
    await Worker(start, listening, control, copies).run()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
