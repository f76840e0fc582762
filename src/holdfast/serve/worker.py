"""One worker process, started by the supervisor.

`python -m holdfast.serve.worker LISTEN_FD CONTROL_FD COPIES_FD...`
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from holdfast.errors import HoldfastError
from holdfast.serve.app import make_app
from holdfast.serve.connection_state import WorkerState
from holdfast.serve.control import DEPLOYMENTS, Drain, Message, Reader, Start, frame, receive_one
from holdfast.serve.large_pages import end_asking
from holdfast.serve.metrics import show
from holdfast.serve.protocol import HotProtocol
from holdfast.serve.resident import Resident
from holdfast.serve.security import client_ca, make_tls, tls_pair
from holdfast.serve.services import Services
from holdfast.serve.several import make_server_app
from holdfast.serve.sockets import allow_most_connections, open_no_more
from holdfast.serve.uvicorn_settings import uvicorn_config
from holdfast.telemetry import log_to_stderr

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from holdfast.serve.grpc_server import GrpcServer
    from holdfast.telemetry.exposition import Shown

BACKLOG = 2048
HANDSHAKE_S = 0.1
"""Time that connections half open at the end have to complete; a few round trips."""
LAST_REQUESTS_S = 1.0
"""Silence after which a draining worker takes a connection for idle: its client may be about to send."""
ORPHAN_DRAIN_S = 2.0
DRAIN_S = 30.0
logger = logging.getLogger("holdfast.serve")


class Worker:
    """Everything one process does until it has drained.

    Args:
        start: the supervisor's first message.
        listening: the socket inherited from the supervisor.
        control: to the supervisor; its end means that the supervisor is gone.
        copies: to the challengers' own processes, one for each deployment.
    """

    def __init__(
        self, start: Start, listening: socket.socket, control: socket.socket, copies: Sequence[socket.socket]
    ) -> None:
        self._start = start
        self._listening = listening
        self._control = control
        self._state = WorkerState()
        self._ending = asyncio.Event()
        self._notice_s = 0.0
        self._last_to_listen = False
        self._drain_s = DRAIN_S
        self.has_failed = False
        """Whether it ends for a fault of ours, so that another one takes its place."""
        loading = asyncio.Lock()
        self._residents = [
            Resident(
                home,
                start,
                self._say,
                copies=end,
                loading=loading,
                forget_heads=self._state.known_heads.clear,
            )
            for home, end in zip(start.homes, copies, strict=True)
        ]
        self._by_name = {one.deployment.name: one for one in self._residents}
        self._services = Services([one.service for one in self._residents], several=start.several)

    async def run(self) -> None:
        """Serve until told to drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        app = self._make_app()
        self._config = uvicorn_config(app, self._services)
        first = self._residents[0].deployment
        self._tls = make_tls(first.checklist.security, first.folder)
        stream, self._writer = await asyncio.open_unix_connection(sock=self._control, limit=1 << 20)
        # Before the first version answers, since the service is announced then.
        grpc_server = await self._start_grpc()
        tasks = [asyncio.create_task(self._read_control(stream)), asyncio.create_task(self._every_second())]
        for resident in self._residents:
            tasks += resident.tasks()
        for task in tasks:
            task.add_done_callback(self._look_at_end)
        ready = asyncio.create_task(self._answered_first_routes())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait([ready, ending], return_when=asyncio.FIRST_COMPLETED)
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
        for task in (ready, *tasks):
            task.cancel()
        for resident in self._residents:
            await resident.close()

    def _look_at_end(self, task: asyncio.Task[None]) -> None:
        """Without one of its tasks a worker would follow no route, or count nothing: it ends too."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a task of this worker failed, so it drains and ends", exc_info=error)
            self.has_failed = True
            self._ending.set()

    def _make_app(self) -> ASGIApp:
        version, replica = self._start.version, self._start.replica
        apps: dict[str, ASGIApp] = {}
        shows: dict[str, Callable[[], Shown]] = {}
        for name, one in self._by_name.items():
            place = one.deployment.run_folder
            workers = one.deployment.checklist.compute.cores
            apps[name] = make_app(
                one.service, version=version, run_folder=place, replica=replica, workers=workers,
                dashboard=one.dashboard,
                below="" if self._services.alone else f"{DEPLOYMENTS}{name}",
            )  # fmt: skip
            shows[name] = partial(show, one.service, place, replica, workers)
        dashboards = any(one.dashboard for one in self._residents)
        return make_server_app(self._services, apps, version=version, shows=shows, dashboards=dashboards)

    async def _answered_first_routes(self) -> None:
        for resident in self._residents:
            await resident.answered_first_route.wait()

    async def _start_grpc(self) -> GrpcServer | None:
        if not self._start.grpc_address:
            return None
        from holdfast.serve.grpc_server import GrpcServer

        server = GrpcServer(self._services, self._start.version)
        first = self._residents[0].deployment
        security = first.checklist.security
        await server.start(
            self._start.grpc_address, tls_pair(security, first.folder), client_ca(security, first.folder)
        )
        return server

    async def _stop_grpc(self, server: GrpcServer) -> None:
        await asyncio.sleep(self._notice_s)
        await server.stop(self._drain_s)

    def _connection(self) -> HotProtocol:
        return HotProtocol(self._services, self._config, self._state)

    async def _drain(self, server: asyncio.AbstractServer, spare: socket.socket) -> None:
        """Not ready, then not accepting, then not reading; what was accepted is answered."""
        loop = asyncio.get_running_loop()
        give_up_s = time.monotonic() + self._drain_s
        self._services.drain()
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
        for service in self._services.all:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.batcher.drained(), max(give_up_s - time.monotonic(), 0.01))

    async def _read_control(self, stream: asyncio.StreamReader) -> None:
        messages = Reader()
        while data := await stream.read(1 << 16):
            for message in messages.feed(data):
                if isinstance(message, Drain):
                    self._notice_s = message.notice_s
                    self._last_to_listen = message.last_to_listen
                    self._ending.set()
                elif message.model in self._by_name:
                    self._by_name[message.model].hear(message)
        # The supervisor is gone; nobody would restart us or collect our counts.
        self._drain_s = ORPHAN_DRAIN_S
        self._ending.set()
        await asyncio.sleep(2 * ORPHAN_DRAIN_S)
        os._exit(1)

    def _say(self, message: Message) -> None:
        self._writer.write(frame(message))

    async def _every_second(self) -> None:
        while True:
            self._state.renew_date()
            now_s = time.monotonic()
            connections: Any = self._state.connections
            for resident in self._residents:
                resident.count_connections(len(connections))
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


def main(arguments: list[str]) -> int:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_asking(os.environ)
    allow_most_connections()
    formatter = log_to_stderr("worker")
    listening, control, *copies = (socket.socket(fileno=int(one)) for one in arguments)
    try:
        start = receive_one(control)
    except EOFError:
        return 1
    if not isinstance(start, Start):
        return 1
    formatter.exception_text = all(one.checklist.logging.exception_text for one in start.homes)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return int(runner.run(_run(start, listening, control, copies)))
    except HoldfastError as error:
        print(f"holdfast worker: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the process's own last word
        return 2


async def _run(
    start: Start, listening: socket.socket, control: socket.socket, copies: Sequence[socket.socket]
) -> bool:
    """Whether the worker failed."""
    worker = Worker(start, listening, control, copies)
    await worker.run()
    return worker.has_failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
