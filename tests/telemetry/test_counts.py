from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from holdfast.telemetry import Histogram, ServiceCounts, read_all, retire, write_snapshot
from holdfast.telemetry.exposition import Shown, exposition


@given(st.one_of(st.lists(st.floats(0, 100), max_size=50), st.lists(st.floats(20.1, 20.4), max_size=9)))
def test_times_observed_together_count_as_those_observed_one_by_one(moments: list[float]) -> None:
    together, one_by_one = Histogram.of((0.5, 1.0, 50.0)), Histogram.of((0.5, 1.0, 50.0))
    together.observe_since(moments, 100.0)
    for moment in moments:
        one_by_one.observe(100.0 - moment)
    assert together.counts == one_by_one.counts
    assert together.total == pytest.approx(one_by_one.total)


@given(st.floats(0, 100), st.integers(0, 9))
def test_a_value_that_came_several_times_counts_as_often(value: float, times: int) -> None:
    together, one_by_one = Histogram.of((0.5, 1.0, 50.0)), Histogram.of((0.5, 1.0, 50.0))
    together.observe(value, times)
    for _ in range(times):
        one_by_one.observe(value)
    assert together.counts == one_by_one.counts
    assert together.total == pytest.approx(one_by_one.total)


@given(st.lists(st.floats(0, 100), max_size=50), st.lists(st.floats(0, 100), max_size=50))
def test_histograms_of_two_workers_add_up_to_the_histogram_of_all(
    ones: list[float], others: list[float]
) -> None:
    edges = (0.5, 1.0, 50.0)
    first, second, both = Histogram.of(edges), Histogram.of(edges), Histogram.of(edges)
    for value in ones:
        first.observe(value)
        both.observe(value)
    for value in others:
        second.observe(value)
        both.observe(value)
    first.add(second)
    assert first.counts == both.counts
    assert first.total == pytest.approx(both.total)


def test_a_value_on_an_edge_is_below_it_as_prometheus_says() -> None:
    histogram = Histogram.of((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]


def counts_of(requests: int) -> ServiceCounts:
    counts = ServiceCounts(queued_rows=3, ready=True, champion="4")
    for _ in range(requests):
        counts.route("/predict", "4").observe(200, 0.003)
    counts.batch("4", requests, 0.0001)
    counts.refuse("queue")
    counts.log.served = requests
    return counts


def test_the_dead_keep_their_counters_and_lose_their_gauges(tmp_path: Path) -> None:
    write_snapshot(tmp_path, "a", counts_of(5))
    write_snapshot(tmp_path, "b", counts_of(7))
    before = read_all(tmp_path)
    assert (before.route("/predict", "4").statuses, before.queued_rows) == ({200: 12}, 6)
    retire(tmp_path, "a")
    after = read_all(tmp_path)
    assert (after.route("/predict", "4").statuses, after.queued_rows) == ({200: 12}, 3)
    assert after.log.served == 12
    retire(tmp_path, "a")
    retire(tmp_path, "never-wrote-anything")
    assert read_all(tmp_path).log.served == 12


def test_a_worker_that_writes_after_its_burial_is_not_counted_twice(tmp_path: Path) -> None:
    write_snapshot(tmp_path, "a", counts_of(5))
    retire(tmp_path, "a")
    write_snapshot(tmp_path, "a", counts_of(5))
    assert read_all(tmp_path).log.served == 5


def test_readers_see_every_row_exactly_once_while_workers_die(tmp_path: Path) -> None:
    for number in range(30):
        write_snapshot(tmp_path, f"w{number}", counts_of(10))
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(read_all(tmp_path).log.served)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        retire(tmp_path, f"w{number}")
    stop.set()
    reader.join()
    assert set(seen) == {300}


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    write_snapshot(tmp_path, "a", counts_of(1))
    (tmp_path / "b.counts").write_bytes(b"\xff\xff")
    assert read_all(tmp_path).log.served == 1


def test_the_exposition_has_base_units_totals_and_cumulative_buckets() -> None:
    text = exposition([Shown('quo"ted', counts_of(4), 2)]).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for family in families.values():
        assert family.name.startswith("holdfast_")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    latency = families["holdfast_request_duration_seconds"].samples
    buckets = [sample.value for sample in latency if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 4
    assert {sample.labels["model"] for sample in latency} == {'quo"ted'}
    assert families["holdfast_workers"].samples[0].value == 2


def test_two_threads_of_one_process_may_show_its_counts_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def show() -> None:
        try:
            for _ in range(300):
                write_snapshot(tmp_path, "worker", ServiceCounts(queued_rows=3))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=show) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read_all(tmp_path).queued_rows == 3
