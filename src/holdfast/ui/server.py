"""The dashboard as a process: behind the service's workers, or by itself on a folder."""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.telemetry import log_to_stderr
from holdfast.ui.app import make_dashboard
from holdfast.ui.below import Below
from holdfast.ui.facts import Facts
from holdfast.ui.overview import make_overview
from holdfast.ui.render import compile_template, template_names
from holdfast.ui.traffic import TrafficWatch

if TYPE_CHECKING:
    from starlette.types import ASGIApp

IDLE_S: Final = 1800.0
"""So long after the last look the process ends, and with it what it read; a fresh one rests with 45 MB."""
_MOST_CONNECTIONS: Final = 256


class _Server(uvicorn.Server):
    """Ends when nobody has looked for long, and tells open streams when it ends."""

    idle_s: float | None = None
    last_s: float | None = None
    """When somebody looked; before the first look it waits for as long as it takes."""

    async def on_tick(self, counter: int) -> bool:
        if self.server_state.tasks or self.server_state.connections:
            self.last_s = time.monotonic()
        if (
            self.idle_s is not None
            and self.last_s is not None
            and time.monotonic() - self.last_s > self.idle_s
        ):
            self.should_exit = True
        return await super().on_tick(counter)


def serve_dashboard(
    deployment: Deployment,
    clock: Clock,
    *,
    listening: socket.socket,
    read_only: bool,
    below: str = "",
    idle_s: float | None = None,
    on_ready: Callable[[], Any] = lambda: None,
) -> None:
    """Answer requests for pages until SIGTERM or Ctrl-C.

    Args:
        deployment: whose pages these are.
        clock: for sessions, ages and entries.
        listening: the socket to accept from; it is closed at the end.
        read_only: whether nothing can be changed from the pages.
        below: path below which the pages stand, where a service has several deployments.
        idle_s: end so long after the last request; None: never.
        on_ready: called when requests are answered.
    """
    log_to_stderr("dashboard").exception_text = deployment.checklist.logging.exception_text
    server: _Server | None = None

    def ending() -> bool:
        return server is not None and server.should_exit

    with Registry.open(deployment.registry_url, clock) as registry:
        app: ASGIApp = make_dashboard(deployment, registry, clock, read_only=read_only, ending=ending)
        if below:
            app = Below(app, below)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=2, limit_concurrency=_MOST_CONNECTIONS,
        )  # fmt: skip
        server = _Server(config)
        server.idle_s = idle_s
        on_ready()
        warm_up(Facts(deployment, registry, clock), lambda: bool(select.select([listening], [], [], 0)[0]))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def warm_up(facts: Facts, waiting: Callable[[], bool]) -> None:
    """Make what a first view would wait for: the first page's facts and the templates, until somebody waits.

    Args:
        facts: of the deployment.
        waiting: whether somebody does.
    """
    steps: list[Callable[[], object]] = [partial(compile_template, name) for name in template_names()]
    steps.append(partial(make_overview, facts, TrafficWatch(facts)))
    for step in steps:
        if waiting():
            return
        try:
            step()
        except (HoldfastError, OSError):
            logging.getLogger("holdfast.ui").debug("nothing to show yet", exc_info=True)


def inherited_socket(descriptor: int) -> socket.socket:
    """The listening socket that whoever started this process opened."""
    return socket.socket(fileno=descriptor)


def own_group_ignores_interrupt() -> None:
    """Ctrl-C reaches the whole group; behind a service its supervisor decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
