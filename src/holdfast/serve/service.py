"""One worker's state, which both ways into it share: the protocol's hot routes and the ASGI app."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Never

from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.infer import (
    CHAMPION_ARM,
    PINNED_ARM,
    Copier,
    DataPlane,
    Job,
    Lane,
    LoadedModel,
    NotReadyError,
    TooManyRowsError,
    TurnBatcher,
    UnknownModelError,
)
from holdfast.serve.admission import Admission, Grant, check_scope
from holdfast.serve.answers import AnswerEncoder
from holdfast.serve.books import Books
from holdfast.serve.calls import Call
from holdfast.serve.consent import ConsentBook
from holdfast.serve.errors import ServeError
from holdfast.serve.jobs import CallJob, PredictJob
from holdfast.serve.sink import Sink
from holdfast.serve.slices import Slices
from holdfast.serve.status import reason_name, refusal_reason, status_of
from holdfast.serve.v2 import V2Codec
from holdfast.spec.checklist import Checklist
from holdfast.telemetry import RouteCounts, ServiceCounts

if TYPE_CHECKING:
    from holdfast.serve.canary import Canary

PREDICT: Final = "/predict"
INFER: Final = "/v2/models/{model}/infer"
FOR_PREDICTIONS: Final = frozenset({"predict"})

logger = logging.getLogger("holdfast.serve")


class Endpoint:
    """One loaded model version as HTTP sees it."""

    __slots__ = ("_counts", "_routes", "lane", "predict_counts", "rows", "v2")

    def __init__(self, lane: Lane, name: str, checklist: Checklist, counts: ServiceCounts) -> None:
        model = lane.model
        self.lane = lane
        self.rows = AnswerEncoder(model.signature, model.version)
        self.v2 = V2Codec(
            name,
            model.version,
            model.signature,
            lane.codec.schema,
            checklist.predictions.max_rows_per_request,
        )
        self.predict_counts = counts.route(PREDICT, model.version)
        self._counts = counts
        self._routes: dict[str, RouteCounts] = {}

    def counts_of(self, route: str, *, named: bool = False) -> RouteCounts:
        """Of this version on one route; named: by a caller while a rollout shares out the others."""
        if named:
            return self._counts.route(route, self.lane.version, named=True)
        found = self._routes.get(route)
        if found is None:
            found = self._routes[route] = self._counts.route(route, self.lane.version)
        return found


class Service:
    """Holds the loaded versions, the batcher and the counts of one worker.

    Args:
        checklist: of the deployment.
        plane: with or without a log.
        counts: of this worker.
        clock: wall time for labels and the log.
        admission: who may ask; None: as the checklist alone says.
    """

    def __init__(
        self,
        checklist: Checklist,
        plane: DataPlane,
        counts: ServiceCounts,
        clock: Clock,
        admission: Admission | None = None,
    ) -> None:
        self.checklist = checklist
        self.name = checklist.model.name
        self.plane = plane
        self.counts = counts
        self.clock = clock
        self.books = Books()
        speed = checklist.speed
        self.batcher = TurnBatcher(
            plane, counts, speed.deadline_ms / 1000, speed.p99_ms / 1000, observer=self.books
        )
        self.champion: Endpoint | None = None
        self.canary: Canary | None = None
        """Sends a share of the requests to a challenger, while a rollout asks for it."""
        self.keeps_standby = False
        """Whether the champion before this one stays loaded, so that going back takes no loading."""
        self.standby: Endpoint | None = None
        self._copier: Copier | None = None
        self.repository: object | None = None
        """Loads versions at run time, where there is a supervisor."""
        self._endpoints: dict[str, Endpoint] = {}
        self._held: set[str] = set()
        self._pins: Counter[Endpoint] = Counter()
        self.generation = 0
        self.examples: list[dict[str, Any]] = []
        self.draining = False
        self.withdrawn = False
        """Whether the whole model is unloaded, so that nobody waits for it to be ready."""
        self.max_body_bytes = checklist.predictions.max_body_bytes
        self._max_rows = checklist.predictions.max_rows_per_request
        self.consents: ConsentBook | None = None
        self.slices = Slices()
        self.admission = admission or Admission(checklist.security, clock)

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.champion is not None and not self.draining

    def install(self, model: LoadedModel, generation: int, examples: list[dict[str, Any]]) -> None:
        """Make a warmed model the champion, between two batches; the old one closes after its last."""
        self.withdrawn = False
        old = self.champion
        self.champion = endpoint = self._open(model)
        endpoint.lane.arm = CHAMPION_ARM
        endpoint.lane.copier = self._copier
        self.generation = generation
        self.examples = examples
        self.counts.champion = model.version
        if old is not None and old is not endpoint:
            old.lane.arm = PINNED_ARM
            old.lane.copier = None
            if self.canary is not None and self.canary.endpoint is endpoint:
                self.canary = None  # promoted: there is no other arm
            before, self.standby = self.standby, old if self.keeps_standby else None
            for one in (before, old):
                if one is not None:
                    self._close_unless_wanted(one)

    def dismiss(self, endpoint: Endpoint) -> None:
        """Keep a former champion loaded no longer, if it is still the one on standby."""
        if self.standby is endpoint:
            self.standby = None
            self._close_unless_wanted(endpoint)

    def withdraw(self) -> None:
        """Unload the whole model: what it was asked is answered, what comes next hears that it is gone."""
        self.withdrawn = True
        self.canary = None
        self.set_copier(None)
        self._held.clear()
        self.champion = self.standby = None
        self.counts.champion = ""
        for endpoint in tuple(self._endpoints.values()):
            endpoint.lane.copier = None
            self._close_unless_wanted(endpoint)

    def set_copier(self, copier: Copier | None) -> None:
        """Copy what the champion answers to a challenger, or no longer."""
        self._copier = copier
        if self.champion is not None:
            self.champion.lane.copier = copier

    def add(self, model: LoadedModel) -> Endpoint:
        """Load a version beside the champion; `pin` it, or it closes with the next change."""
        return self._open(model)

    def hold(self, model: LoadedModel | None, version: str = "") -> None:
        """Answer those who ask for this version by name, until it is released.

        Args:
            model: warmed; None: `version` is loaded already.
            version: of the loaded one.
        """
        if model is not None:
            version = self._open(model).lane.version
        self._held.add(version)

    def release(self, version: str) -> None:
        """Hold the version no longer; it closes after its last answer unless it is the champion."""
        self._held.discard(version)
        endpoint = self._endpoints.get(version)
        if endpoint is not None:
            self._close_unless_wanted(endpoint)

    def pin(self, endpoint: Endpoint) -> None:
        """Keep a loaded version open until `unpin`, whoever is champion: a stream began on it."""
        self._pins[endpoint] += 1

    def unpin(self, endpoint: Endpoint) -> None:
        """Give back one `pin`; the version closes if nobody wants it any more."""
        self._pins[endpoint] -= 1
        if not self._pins[endpoint]:
            del self._pins[endpoint]
            self._close_unless_wanted(endpoint)

    def find(self, version: str) -> Endpoint | None:
        """The version if it is loaded."""
        return self._endpoints.get(version)

    @property
    def versions(self) -> list[str]:
        """Those that answer by name, the champion first."""
        champion = "" if self.champion is None else self.champion.lane.version
        named = [version for version, one in self._endpoints.items() if not self._is_spare(one)]
        return sorted(named, key=lambda version: (version != champion, version))

    def _is_spare(self, endpoint: Endpoint) -> bool:
        """Whether it is loaded for a way back only: then nobody asks it by name."""
        return endpoint is self.standby and endpoint.lane.version not in self._held

    def _open(self, model: LoadedModel) -> Endpoint:
        endpoint = self._endpoints.get(model.version)
        if endpoint is None or endpoint.lane.model is not model:
            lane = Lane(model, self.checklist)
            lane.arm = PINNED_ARM
            self.batcher.open_lane(lane)
            endpoint = self._endpoints[model.version] = Endpoint(lane, self.name, self.checklist, self.counts)
        return endpoint

    def _close_unless_wanted(self, endpoint: Endpoint) -> None:
        version = endpoint.lane.version
        replaced = self._endpoints.get(version) is not endpoint
        held = version in self._held and not replaced
        wanted = endpoint is self.champion or endpoint is self.standby or held or endpoint in self._pins
        if wanted or endpoint.lane.retired:
            return
        if not replaced:
            del self._endpoints[version]
        self.batcher.retire(endpoint.lane)

    def endpoint(self, version: str | None = None, model: str | None = None) -> Endpoint:
        """The loaded version that answers.

        Raises:
            UnknownModelError: another model, or a version that is not loaded.
            NotReadyError: no version is loaded yet.
        """
        if model is not None and model != self.name:
            raise UnknownModelError("no such model", expected=repr(self.name), received=repr(model[:80]))
        if self.withdrawn:
            raise UnknownModelError(
                "the model is unloaded",
                where=repr(self.name),
                next_step=f"POST /v2/repository/models/{self.name}/load brings it back.",
            )
        if self.champion is None:
            raise NotReadyError("no champion is loaded", next_step="Register and promote a model version.")
        if version is None:
            return self.champion
        found = self._endpoints.get(version)
        if found is None or self._is_spare(found):
            raise UnknownModelError(
                "this version is not loaded",
                expected=", ".join(map(repr, self.versions)),
                received=repr(version[:80]),
                next_step="POST /v2/repository/models/{model}/load loads a registered version.",
            )
        return found

    def predict(self, body: bytes, sink: Sink) -> Job | None:
        """Answer `POST /predict` through the sink, at the latest when the batch is done.

        Returns:
            The queued job, to be cancelled if the caller goes away; None if it is answered already.
        """
        arrived_s = time.monotonic()
        counts = self.counts.route(PREDICT) if self.champion is None else self.champion.predict_counts
        try:
            endpoint = self.champion or self.endpoint()  # which says why there is none
            lane = endpoint.lane
            batcher = self.batcher
            if batcher.crowded is not None:
                batcher.check(lane, arrived_s, len(body))
            records, alone = lane.codec.decode(body)
            if self.canary is not None and records and self.canary.takes(lane.codec, records, None):
                endpoint = self.canary.endpoint
                lane, counts = endpoint.lane, endpoint.predict_counts
                records, alone = lane.codec.decode(body)
            rows = len(records)
            if rows > self._max_rows:
                _too_many(rows, self._max_rows)
            if not rows:
                self._answer_no_rows(counts, arrived_s, sink, b"[]")
                return None
            shape = lane.codec.shape_of(records) if lane.codec.varies else ()
            job = PredictJob(rows, records, None, shape, arrived_s)
            job.service, job.endpoint, job.counts, job.sink, job.alone = self, endpoint, counts, sink, alone
            job.patience_s = sink.caller.patience_s
            job.size_bytes = len(body)
            batcher.submit(lane, job)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told, and ends nobody else's request
            self._refuse(counts, error, arrived_s, sink)
            return None
        return job

    def infer(
        self, body: bytes, sink: Sink, model: str, version: str | None, json_bytes: int | None = None
    ) -> Job | None:
        """Answer a v2 infer request through the sink; returns as `predict`."""
        return self.ask(
            INFER,
            sink,
            lambda endpoint: endpoint.v2.decode(body, json_bytes),
            model,
            version,
            size_bytes=len(body),
        )

    def ask(
        self,
        route: str,
        sink: Sink,
        decode: Callable[[Endpoint], Call],
        model: str | None = None,
        version: str | Endpoint | None = None,
        *,
        size_bytes: int = 0,
    ) -> Job | None:
        """Answer a request of any protocol through the sink; returns as `predict`.

        Args:
            route: under which it is counted.
            sink: gets the answer.
            decode: reads the request for the version that answers it; raises a `HoldfastError` if it cannot.
            model: as the caller names it; None: this one.
            version: that the caller asks for, or has pinned; None: the champion.
            size_bytes: of the body; 0: not known.
        """
        arrived_s = time.monotonic()
        counts: RouteCounts | None = None
        try:
            endpoint = version if isinstance(version, Endpoint) else self.endpoint(version, model)
            named = version is not None and self.canary is not None
            counts = endpoint.counts_of(route, named=named)
            lane = endpoint.lane
            self.batcher.check(lane, arrived_s, size_bytes)
            call = decode(endpoint)
            if (
                self.canary is not None
                and version is None
                and call.rows
                and self.canary.takes(lane.codec, call.records, call.block)
            ):
                endpoint = self.canary.endpoint
                lane, counts = endpoint.lane, endpoint.counts_of(route)
                call = decode(endpoint)
            if not call.rows:
                self._answer_no_rows(counts, arrived_s, sink, *call.encode_empty())
                return None
            job = CallJob(call.rows, call.records, call.block, call.shape, arrived_s)
            job.service, job.endpoint, job.counts, job.sink, job.call = self, endpoint, counts, sink, call
            job.patience_s = sink.caller.patience_s
            job.size_bytes = size_bytes
            job.assigned = not named
            self.batcher.submit(lane, job)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told, and ends nobody else's request
            champion = self.champion
            if counts is None:
                counts = self.counts.route(route) if champion is None else champion.counts_of(route)
            self._refuse(counts, error, arrived_s, sink)
            return None
        return job

    def _answer_no_rows(
        self, counts: RouteCounts, arrived_s: float, sink: Sink, body: bytes, json_bytes: int | None = None
    ) -> None:
        """Count and answer a request that needs no run."""
        answered_s = time.monotonic()
        seconds = answered_s - arrived_s
        counts.observe(200, seconds)
        if self.books.watch is not None:
            self.books.watch.request(counts, 200, answered_s, seconds, sink)
        sink.respond(body, json_bytes)

    def _refuse(self, counts: RouteCounts, error: Exception, arrived_s: float, sink: Sink) -> None:
        """Count and tell why a request is not queued."""
        if not isinstance(error, HoldfastError):
            logger.error("a request could not be read", exc_info=error)
            error = ServeError("the request could not be read", received=type(error).__name__)
        self.count_error(counts, error, arrived_s, sink)
        sink.refuse(error)

    def count_error(
        self, counts: RouteCounts, error: HoldfastError, arrived_s: float, sink: Sink, rows: int = 0
    ) -> None:
        """Count a request that ended in an error and is about to be told so through the sink."""
        status, answered_s = status_of(error), time.monotonic()
        seconds = answered_s - arrived_s
        counts.observe(status, seconds)
        if self.books.watch is not None:
            self.books.watch.request(counts, status, answered_s, seconds, sink, rows=rows)
        self.note_refusal(error)

    def note_refusal(self, error: HoldfastError) -> None:
        """Count the reason, where it is one of want of time or room."""
        reason = refusal_reason(error)
        if reason is not None:
            self.counts.refuse(reason)

    def turn_away(self, route: str, error: HoldfastError, sink: Sink) -> None:
        """Count a request that no version was asked to answer, and that is about to be told so."""
        self.count_error(self.counts.route(route), error, time.monotonic(), sink)

    def authorise(
        self, authorization: bytes | None, scopes: frozenset[str] = FOR_PREDICTIONS
    ) -> Grant | None:
        """Check the value of an Authorization header, and count the request against the caller's rate.

        Args:
            authorization: as it came.
            scopes: any one of these is enough; empty: every known caller may.

        Returns:
            The caller's grant, to be asked again for the next request with the same head; None where the
            service is open to all.

        Raises:
            UnauthorisedError: keys are asked for and this is none of them.
            ForbiddenError: the key is for something else.
            RateLimitedError: the key asks too often.
        """
        if self.admission.open_to_all:
            return None
        try:
            grant = self.admission.find(authorization)
            check_scope(grant, scopes or grant.scopes)
        except HoldfastError as error:
            self.counts.refuse(reason_name(error))
            raise
        return grant

    def refresh_gauges(self) -> None:
        """Bring the counts that live elsewhere up to date before a snapshot."""
        self.counts.queued_rows = self.batcher.queued_rows
        self.counts.ready = self.ready
        self.counts.memory_bytes = {
            version: one.lane.model.memory_bytes for version, one in self._endpoints.items()
        }
        self.plane.count_into(self.counts.log)


def _too_many(rows: int, most: int) -> Never:
    raise TooManyRowsError(
        "too many rows in one request", where="$", expected=f"at most {most}", received=str(rows)
    )
