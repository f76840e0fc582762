"""One deployment in a worker: its data plane, log, keys and versions, and the routes that it follows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import CHALLENGER_ARM, PINNED_ARM, LoadedModel, load_model, open_plane, resident_bytes
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE
from holdfast.serve.admission import Admission
from holdfast.serve.canary import Canary
from holdfast.serve.consent import ConsentBook
from holdfast.serve.control import (
    Challenger,
    ChallengerFailed,
    Home,
    Keys,
    Loaded,
    LoadFailed,
    Message,
    Route,
    Start,
)
from holdfast.serve.copying import Copies
from holdfast.serve.rates import RATES_FILE, RateSlots
from holdfast.serve.repository import Repository
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.tokens import TokenVerifier
from holdfast.serve.watch import Watch
from holdfast.spec import Deployment
from holdfast.spec.checklist import Checklist
from holdfast.telemetry import AccessLog, ServiceCounts, Traces, write_snapshot

SNAPSHOT_S = 0.5
TOKEN_KEYS_RETRY_S = 10.0
"""Least time between two fetches of an identity provider's keys, whatever callers send."""
LEAST_RUN_BYTES = 32 * 1024 * 1024
"""For runs even where the process alone fills its share of [compute] memory_mb."""
logger = logging.getLogger("holdfast.serve")


class Resident:
    """Everything that one deployment has in a worker.

    Args:
        home: where it lives.
        start: of the worker.
        say: to the supervisor.
        copies: to the challenger's own process, where there is one.
        loading: held while a version is loaded, by one deployment at a time: what the process grows by
            meanwhile is the version's.
        forget_heads: called when callers must be looked at anew.
    """

    def __init__(
        self,
        home: Home,
        start: Start,
        say: Callable[[Message], None],
        *,
        copies: socket.socket,
        loading: asyncio.Lock,
        forget_heads: Callable[[], None],
    ) -> None:
        self.deployment = Deployment(Path(home.folder), home.checklist, home.checklist_hash)
        self.dashboard = home.dashboard
        self.answered_first_route = asyncio.Event()
        self._checklist = home.checklist
        self._holds = home.holds
        self._start = start
        self._tell = say
        self._copies = copies
        self._loading = loading
        self._forget_heads = forget_heads
        self._challenger: Endpoint | None = None
        self._dismissal: asyncio.TimerHandle | None = None
        """Of the former champion that stays loaded for a while."""
        self._routes: asyncio.Queue[Route] = asyncio.Queue()
        self._memory_bytes = sum(one.checklist.compute.memory_mb for one in start.homes) * 1024 * 1024
        self._counts = ServiceCounts()
        clock = SystemClock()
        folder, security = self.deployment.folder, home.checklist.security
        self._plane = open_plane(self.deployment, f"worker-{start.index}", clock)
        slots = RateSlots(self.deployment.run_folder / RATES_FILE)
        self._tokens = TokenVerifier(security, folder) if security.jwt_jwks else None
        admission = Admission(security, clock, slots, self._tokens)
        self.service = service = Service(home.checklist, self._plane, self._counts, clock, admission)
        service.keeps_standby = home.checklist.rollout.standby.microseconds > 0
        service.books.watch = self._open_watch(clock)
        key = os.environ.get(PSEUDONYM_KEY_VARIABLE)
        service.consents = self._consents = ConsentBook(folder, key.encode() if key else None, clock)
        self._repository = service.repository = Repository(service, self._say, self._load_and_warm)

    def _open_watch(self, clock: SystemClock) -> Watch | None:
        settings = self._checklist.logging
        if not settings.access_log and not settings.traces:
            return None
        traces = None
        name = self.deployment.name
        if settings.traces:
            chance = random.Random().random  # noqa: S311 - no secret
            fraction, per_s = settings.trace_fraction, settings.traces_per_s
            traces = Traces(name, self._start.replica, fraction=fraction, per_s=per_s, chance=chance)
        access = AccessLog(sys.stdout.fileno(), clock, name) if settings.access_log else None
        return Watch(access, traces, self._counts)

    def tasks(self) -> list[asyncio.Task[None]]:
        """What it does beside answering, begun; to be cancelled at the end."""
        doing = [self._follow_routes(), self._repository.follow(), self._write_counts()]
        if self.service.books.watch is not None:
            doing.append(self.service.books.watch.follow())
        if self._tokens is not None:
            doing.append(self._follow_token_keys(self._tokens))
        return [asyncio.create_task(one) for one in doing]

    def hear(self, message: Message) -> None:
        """Take in what the supervisor says of this deployment."""
        if isinstance(message, Route):
            self._routes.put_nowait(message)
        elif isinstance(message, Keys):
            self.service.admission.replace_keys(message.entries)
            self._forget_heads()
        else:
            self._repository.hear(message)

    def count_connections(self, number: int) -> None:
        """Of the whole worker."""
        self._counts.open_connections = number

    async def close(self) -> None:
        """Nothing is asked any more; what was counted is kept."""
        service = self.service
        if service.books.watch is not None:
            await service.books.watch.close()
        self._plane.close()
        self._consents.close()
        service.refresh_gauges()
        with contextlib.suppress(OSError):
            write_snapshot(self.deployment.run_folder, self._start.replica, self._counts)
        service.batcher.close()

    def _say(self, message: Message) -> None:
        self._tell(msgspec.structs.replace(message, model=self.deployment.name))

    async def _follow_routes(self) -> None:
        for hold in self._holds:
            self._say(await self._repository.hold(hold))
        while True:
            route = await self._routes.get()
            while not self._routes.empty():
                route = self._routes.get_nowait()  # only the latest counts
            said = await self._load(route)
            await self._follow_challenger(route.challenger)
            self._say(said)
            self.answered_first_route.set()

    async def _load(self, route: Route) -> Message:
        service = self.service
        if route.withdrawn and not service.withdrawn:
            service.withdraw()
        if route.version is None:
            service.withdrawn = route.withdrawn
            return Loaded(route.generation, None, route.ticket)
        if service.champion is not None and service.champion.lane.version == route.version:
            service.generation = route.generation
            return self._loaded(route, service.champion.lane.model)
        installed = await self._install(route.version, route.artifact, route.generation)
        if isinstance(installed, str):
            if service.champion is None and not service.withdrawn and route.before is not None:
                await self._install(route.before, route.before_artifact, route.generation)
            failed = LoadFailed(route.generation, route.version, installed, route.ticket)
            if service.champion is None:
                return failed
            model = service.champion.lane.model
            return msgspec.structs.replace(failed, answering=model.version, memory_bytes=model.memory_bytes)
        if self._dismissal is not None:
            self._dismissal.cancel()  # of one that may be on standby again, for its whole time
        if service.standby is not None:
            standby_s = self._checklist.rollout.standby.seconds
            loop = asyncio.get_running_loop()
            self._dismissal = loop.call_later(standby_s, service.dismiss, service.standby)
        return self._loaded(route, installed)

    async def _install(self, version: str, artifact: str, generation: int) -> LoadedModel | str:
        """Make a version the champion; if it cannot be, in words why not, and what answered still does."""
        held = self.service.find(version)
        try:
            model = held.lane.model if held else await self._load_and_warm(Path(artifact), version)
            self.service.install(model, generation, example_records(model, self._checklist))
        except HoldfastError as error:
            return str(error)
        except Exception as error:
            logger.exception("a model version cannot be loaded")
            return f"{type(error).__name__}: {error}"
        return model

    def _loaded(self, route: Route, model: LoadedModel) -> Loaded:
        return Loaded(route.generation, route.version, route.ticket, model.memory_bytes)

    async def _follow_challenger(self, challenger: Challenger | None) -> None:
        """Give the challenger its copies and its share, or take both away."""
        service, before = self.service, self._challenger
        copies = None if challenger is None else challenger.version
        service.set_copier(
            None if copies is None else Copies(self._copies, copies, self._counts.copy(copies))
        )
        endpoint = None
        if challenger is not None and challenger.canary:
            endpoint = service.find(challenger.version) or await self._load_challenger(challenger)
        if challenger is None or endpoint is None:
            service.canary = self._challenger = None
        else:
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

    async def _load_challenger(self, challenger: Challenger) -> Endpoint | None:
        """Beside the champion; None: it cannot be loaded, and the champion answers everything."""
        try:
            model = await self._load_and_warm(Path(challenger.artifact), challenger.version)
        except Exception as error:  # noqa: BLE001 - whatever its artifact does, the champion answers
            self._counts.copy(challenger.version).load_failures += 1
            self._say(ChallengerFailed(challenger.version, f"{type(error).__name__}: {error}"))
            return None
        return self.service.add(model)

    async def _load_and_warm(self, artifact: Path, version: str) -> LoadedModel:
        """Load in a thread; traffic goes on."""
        async with self._loading:
            return await asyncio.to_thread(self._load_in_thread, artifact, version)

    def _load_in_thread(self, artifact: Path, version: str) -> LoadedModel:
        compute = self._checklist.compute
        model = load_model(artifact, version, compute)
        before_bytes = resident_bytes()
        # Half of what is left of this worker's share: a new champion is loaded and warmed beside the old one.
        # With several deployments, a part for each of them.
        left_bytes = self._memory_bytes / compute.cores - before_bytes
        model.warm_up(max(left_bytes, LEAST_RUN_BYTES) / (1 + len(self._start.homes)))
        model.memory_bytes += max(resident_bytes() - before_bytes, 0)
        return model

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
                        self.service.admission.forget_tokens()
                        self._forget_heads()
                except (HoldfastError, OSError) as error:
                    logger.warning("%s", error)
                    next_s = now_s + TOKEN_KEYS_RETRY_S
                await asyncio.sleep(TOKEN_KEYS_RETRY_S if tokens.is_url else 1.0)
            else:
                await asyncio.sleep(1.0)

    async def _write_counts(self) -> None:
        while True:
            self.service.refresh_gauges()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(
                    write_snapshot, self.deployment.run_folder, self._start.replica, self._counts
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
