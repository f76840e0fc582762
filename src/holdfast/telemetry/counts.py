"""What one worker counts about itself: plain integers, so that counting costs next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

LATENCY_EDGES_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
STAGE_EDGES_S: Final = (0.00001, 0.000025, 0.00005, *LATENCY_EDGES_S)
"""For parts of a request: a small model runs in some ten microseconds."""
BATCH_EDGES_ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)


class Histogram(msgspec.Struct):
    """Counts of observations up to and including each edge, and above the last."""

    edges: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, edges: tuple[float, ...]) -> Histogram:
        """An empty one."""
        return cls(edges, [0] * (len(edges) + 1))

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, in the unit of the edges, that came so many times."""
        self.counts[bisect_left(self.edges, value)] += times
        self.total += value * times

    def observe_since(self, moments: Sequence[float], now: float) -> None:
        """Count the time from each of these moments until now; none is taken to be negative."""
        if not moments:
            return
        edges, counts = self.edges, self.counts
        ordered = sorted(moments)
        place, last = bisect_left(edges, now - ordered[-1]), bisect_left(edges, now - ordered[0])
        left = len(ordered)
        for longer in range(place, last):  # of what belongs together there are few edges between
            first = bisect_left(ordered, now - edges[longer], 0, left)
            counts[longer] += left - first
            left = first
        counts[last] += left
        self.total += max(now * len(moments) - sum(moments), 0.0)

    def add(self, other: Histogram) -> None:
        """Add another one's counts; edges are equal because they are constants of one release."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class RouteCounts(msgspec.Struct):
    """Requests of one route answered by one model version ("" where none was asked)."""

    route: str
    version: str
    statuses: dict[int, int] = msgspec.field(default_factory=dict)
    latency_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(LATENCY_EDGES_S))

    def observe(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latency_s.observe(seconds)

    def observe_since(self, status: int, arrived_s: Sequence[float], now_s: float) -> None:
        """Count requests that arrived at these moments and have been answered now."""
        self.statuses[status] = self.statuses.get(status, 0) + len(arrived_s)
        self.latency_s.observe_since(arrived_s, now_s)

    def add(self, other: RouteCounts) -> None:
        """Add another one's counts."""
        for status, number in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + number
        self.latency_s.add(other.latency_s)


def _of_route(held: dict[str, RouteCounts], route: str, version: str) -> RouteCounts:
    key = f"{route} {version}"
    found = held.get(key)
    if found is None:
        found = held[key] = RouteCounts(route, version)
    return found


class VersionCounts(msgspec.Struct):
    """Runs of one model version."""

    version: str
    rows: int = 0
    failures: int = 0
    batch_rows: Histogram = msgspec.field(default_factory=lambda: Histogram.of(BATCH_EDGES_ROWS))
    run_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(STAGE_EDGES_S))
    queue_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(STAGE_EDGES_S))
    """Per request, from its arrival to the start of its batch; the others are per batch."""
    record_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(STAGE_EDGES_S))
    encode_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(STAGE_EDGES_S))


class LogCounts(msgspec.Struct):
    """Rows through the log writer: served = stored + sampled out + dropped."""

    served: int = 0
    stored: int = 0
    sampled_out: int = 0
    dropped: int = 0
    labels: int = 0
    labels_refused: int = 0
    """Labels turned away, as their predictions had been erased."""
    labels_unfit: int = 0
    """Labels turned away, as no answer of the model can be compared with them."""
    large_stored: int = 0
    """Contents of large inputs written."""
    large_repeated: int = 0
    """Contents that were there already."""
    large_bytes: int = 0
    """Of those written."""
    unsynced: int = 0
    """Times that the disk refused a flush and the answers left all the same."""

    def add(self, other: LogCounts) -> None:
        """Add another one's counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class CopyCounts(msgspec.Struct):
    """Rows copied to a challenger: every one is answered, failed, dropped, or still waiting."""

    version: str
    copied: int = 0
    """Handed to the queue."""
    dropped: int = 0
    """Not, or out of it again, since it was full."""
    answered: int = 0
    failed: int = 0
    deaths: int = 0
    """Of the challenger's own process, as counted by the life that follows."""
    load_failures: int = 0
    """Times that a worker could not load the challenger."""
    run_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(STAGE_EDGES_S))
    """Per run on copies: a caller who names the challenger has its own runs, elsewhere."""

    def add(self, other: CopyCounts) -> None:
        """Add another process's counts."""
        self.copied += other.copied
        self.dropped += other.dropped
        self.answered += other.answered
        self.failed += other.failed
        self.deaths += other.deaths
        self.load_failures += other.load_failures
        self.run_s.add(other.run_s)


class ServiceCounts(msgspec.Struct):
    """Everything one worker counts. Numbers only ever grow, except the gauges."""

    routes: dict[str, RouteCounts] = msgspec.field(default_factory=dict)
    named: dict[str, RouteCounts] = msgspec.field(default_factory=dict)
    """Requests that named their version while a rollout shared out the others: they are in neither arm."""
    versions: dict[str, VersionCounts] = msgspec.field(default_factory=dict)
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    log: LogCounts = msgspec.field(default_factory=LogCounts)
    copies: dict[str, CopyCounts] = msgspec.field(default_factory=dict)
    units: dict[str, int] = msgspec.field(default_factory=dict)
    """Units that an arm got, by `rollout share arm`; each unit once."""
    access_lost: int = 0
    """Requests without a line in the access log."""
    queued_rows: int = 0
    """Gauge."""
    open_connections: int = 0
    """Gauge."""
    ready: bool = False
    """Gauge."""
    champion: str = ""
    """Gauge."""
    memory_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    """Gauge: by which loading each version made the process grow."""

    def route(self, route: str, version: str = "", *, named: bool = False) -> RouteCounts:
        """The counts of a route; keep it where the route is hot."""
        return _of_route(self.named if named else self.routes, route, version)

    def all_routes(self) -> Iterable[RouteCounts]:
        """Of every route and version, whoever chose the version."""
        if not self.named:
            return self.routes.values()
        total: dict[str, RouteCounts] = {}
        for counts in (*self.routes.values(), *self.named.values()):
            _of_route(total, counts.route, counts.version).add(counts)
        return total.values()

    def version(self, version: str) -> VersionCounts:
        """The counts of a model version."""
        found = self.versions.get(version)
        if found is None:
            found = self.versions[version] = VersionCounts(version)
        return found

    def copy(self, version: str) -> CopyCounts:
        """The counts of copies to a challenger."""
        found = self.copies.get(version)
        if found is None:
            found = self.copies[version] = CopyCounts(version)
        return found

    def unit(self, rollout: int, share: float, arm: str) -> None:
        """Count one unit of assignment."""
        key = f"{rollout} {share:g} {arm}"
        self.units[key] = self.units.get(key, 0) + 1

    def batch(
        self, version: str, rows: int, run_s: float, record_s: float = 0.0, encode_s: float = 0.0
    ) -> VersionCounts:
        """Count one run and what followed it; the counts of its version, for what is per request."""
        counts = self.version(version)
        counts.rows += rows
        sizes = counts.batch_rows
        sizes.counts[bisect_left(BATCH_EDGES_ROWS, rows)] += 1
        sizes.total += rows
        for stage, seconds in (
            (counts.run_s, run_s),
            (counts.record_s, record_s),
            (counts.encode_s, encode_s),
        ):
            stage.counts[bisect_left(STAGE_EDGES_S, seconds)] += 1
            stage.total += seconds
        return counts

    def failure(self, version: str) -> None:
        """Count one request on which the model failed."""
        self.version(version).failures += 1

    def refuse(self, reason: str) -> None:
        """Count one refused request."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def add(self, other: ServiceCounts, *, alive: bool) -> None:
        """Add another worker's counts; gauges only of workers that live."""
        for counts in other.routes.values():
            self.route(counts.route, counts.version).add(counts)
        for counts in other.named.values():
            self.route(counts.route, counts.version, named=True).add(counts)
        for theirs in other.versions.values():
            ours = self.version(theirs.version)
            ours.rows += theirs.rows
            ours.failures += theirs.failures
            ours.batch_rows.add(theirs.batch_rows)
            ours.run_s.add(theirs.run_s)
            ours.queue_s.add(theirs.queue_s)
            ours.record_s.add(theirs.record_s)
            ours.encode_s.add(theirs.encode_s)
        for copies in other.copies.values():
            self.copy(copies.version).add(copies)
        for key, number in other.units.items():
            self.units[key] = self.units.get(key, 0) + number
        for reason, number in other.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + number
        self.log.add(other.log)
        self.access_lost += other.access_lost
        if alive:
            self.queued_rows += other.queued_rows
            self.open_connections += other.open_connections
            self.ready = self.ready or other.ready
            self.champion = other.champion or self.champion
            for version, size_bytes in other.memory_bytes.items():
                self.memory_bytes[version] = self.memory_bytes.get(version, 0) + size_bytes
