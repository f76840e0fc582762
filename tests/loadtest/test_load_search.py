"""The search for the highest rate, on services that are functions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from holdfast.loadtest import Lag, LoadReport, Percentile, make_curve, search_rate, shortfall
from holdfast.spec import Speed


def report(
    rate: float,
    p99: float | None,
    *,
    failed: int = 0,
    wrong: int = 0,
    bottleneck: str | None = None,
    busy: float = 0.0,
) -> LoadReport:
    return LoadReport(
        url="http://here",
        protocol="json",
        arrivals="poisson",
        rate_per_s=rate,
        seconds=1.0,
        warmup_s=0.0,
        requests=1000,
        answered=1000 - failed,
        answered_in_all=1000 - failed,
        answered_per_s=rate,
        failed={"status 503": failed} if failed else {},
        percentiles=(Percentile(0.5, 1.0, 1.0, 1.0), Percentile(0.99, p99, p99, p99)),
        max_ms=p99,
        checked=10,
        wrong=wrong,
        lag=Lag(0, 0, 0, busy),
        connections=1,
        processes=1,
        rounds=1,
        repeated=0,
        others=None,
        generator_cpu_s=0.1,
        bottleneck=bottleneck,
        histogram="",
    )


def queue(capacity: float) -> Callable[[float], LoadReport]:
    """The 99th percentile of a queue with one server: it grows without bound towards its capacity."""
    return lambda rate: report(rate, 1e6 if rate >= capacity else 4605 / (capacity - rate))


@pytest.mark.parametrize("start", [10.0, 900.0, 50_000.0])
def test_the_highest_rate_is_found_from_wherever_the_search_begins(start: float) -> None:
    # 4605 / (1000 - r) = 10 ms at r = 539.5.
    found = search_rate(queue(1000), Speed(p99_ms=10), start_per_s=start)
    assert found.rate_per_s is not None
    assert 539.5 / 1.1 <= found.rate_per_s <= 539.5
    assert found.confirmations == 3
    assert "p99" in found.stopped_by


def test_a_rate_that_is_not_confirmed_is_given_up_for_a_lower_one() -> None:
    tried: dict[float, int] = {}

    def flaky(rate: float) -> LoadReport:
        tried[rate] = tried.get(rate, 0) + 1
        return report(rate, 1.0 if rate <= 100 or (rate <= 200 and tried[rate] == 1) else 99.0)

    found = search_rate(flaky, Speed(p99_ms=10), start_per_s=200)
    assert found.rate_per_s is not None
    assert found.rate_per_s <= 100


def test_a_service_that_keeps_no_rate_gets_none() -> None:
    found = search_rate(lambda rate: report(rate, 99.0), Speed(p99_ms=10), start_per_s=8)
    assert found.rate_per_s is None


def test_a_rate_at_which_the_generator_used_its_whole_core_never_counts() -> None:
    found = search_rate(
        lambda rate: report(rate, 1.0, bottleneck="too slow", busy=0.99) if rate > 300 else report(rate, 1.0),
        Speed(p99_ms=10),
        start_per_s=100,
    )
    assert found.rate_per_s is not None
    assert found.rate_per_s <= 300
    assert "too slow" in found.stopped_by


def test_a_late_generator_hides_no_rate_that_is_kept_with_its_lag_included() -> None:
    lagging = "1 request in 100 was late"
    found = search_rate(
        lambda rate: report(rate, 9.0 if rate <= 400 else 99.0, bottleneck=lagging),
        Speed(p99_ms=10),
        start_per_s=100,
    )
    assert found.rate_per_s is not None
    assert 400 / 1.1 <= found.rate_per_s <= 400
    assert lagging in found.stopped_by


def test_a_load_that_a_late_generator_spoilt_is_made_again() -> None:
    tried: dict[float, int] = {}

    def spoilt_at_first(rate: float) -> LoadReport:
        tried[rate] = tried.get(rate, 0) + 1
        late = tried[rate] == 1
        return report(rate, 99.0 if late or rate > 400 else 1.0, bottleneck="late" if late else None)

    found = search_rate(spoilt_at_first, Speed(p99_ms=10), start_per_s=100)
    assert found.rate_per_s is not None
    assert 400 / 1.1 <= found.rate_per_s <= 400


def test_loads_that_are_made_again_use_up_none_of_the_rates_that_may_be_tried() -> None:
    found = search_rate(
        lambda rate: report(rate, 9.0 if rate <= 10 else 99.0, bottleneck="late"),
        Speed(p99_ms=10),
        start_per_s=80,
        confirmations=1,
        most_probes=5,
    )
    assert found.rate_per_s is not None
    assert 7 <= found.rate_per_s <= 10


def test_failures_and_wrong_answers_break_the_promise_too() -> None:
    assert shortfall(report(1, 1.0), Speed(p99_ms=10)) is None
    assert "503" in str(shortfall(report(1, 1.0, failed=5), Speed(p99_ms=10)))
    assert "wrong" in str(shortfall(report(1, 1.0, wrong=1), Speed(p99_ms=10)))
    assert "none" in str(shortfall(report(1, None), Speed(p99_ms=10)))


def test_the_curve_that_is_kept_has_every_load_that_was_sent_and_says_which_kept_the_promise() -> None:
    speed = Speed(p99_ms=10, qps=300)
    found = search_rate(queue(1000), speed, start_per_s=100)
    unsent = report(6000.0, 5.0, busy=1.0)
    found = msgspec.structs.replace(found, probes=(*found.probes, unsent))
    curve = make_curve(found, speed, at="2026-03-01T00:00:00Z", machine="here", checklist_hash="h")
    assert curve is not None
    assert len(curve.points) == len(found.probes) - 1
    assert all(point.kept == (point.rate_per_s <= 539.5) for point in curve.points)
    assert curve.rate_per_s == found.rate_per_s
    assert (curve.p99_ms, curve.qps) == (10, 300)
    assert "histogram" not in msgspec.to_builtins(curve.points[0])


def test_of_a_search_in_which_nothing_was_sent_no_curve_is_kept() -> None:
    found = search_rate(lambda rate: report(rate, 5.0, busy=1.0), Speed(), start_per_s=100)
    assert make_curve(found, Speed(), at="", machine="", checklist_hash="") is None
