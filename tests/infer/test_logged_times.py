"""What the log says of when a row came and how long it waited, to the microsecond."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from arithmetic import DEMO, Arithmetic, model_of

from holdfast.clock import ManualClock
from holdfast.infer import DataPlane, Lane
from holdfast.prediction_log import Keeper, PredictionLog, SpoolWriter
from holdfast.privacy import Redactor, open_redactor
from holdfast.spec.checklist import Privacy

NOW_US = 1_800_000_000_000_000


def logged(folder: Path, ages_s: list[tuple[float, int]]) -> list[dict[str, Any]]:
    """Rows of one batch, in order, of requests that came so long ago with so many rows each."""
    clock = ManualClock(NOW_US)
    writer = SpoolWriter(folder, deployment="demo", replica="r", clock=clock)
    plane = DataPlane(writer, Redactor(Privacy(), None), clock)
    lane = Lane(model_of(Arithmetic()), DEMO)
    rows = sum(count for _, count in ages_s)
    records, _ = lane.codec.decode(b"[" + b",".join(b'{"a": %d, "b": 0}' % row for row in range(rows)) + b"]")
    now_s = time.monotonic()
    plane.answer(lane.model, lane.codec.block(records), [(now_s - age_s, count) for age_s, count in ages_s])
    plane.close()
    Keeper(folder, clock).run_once()
    columns = ["input_a", "latency_us", "time"]
    found = PredictionLog(folder).predictions(columns=columns).read_all().to_pylist()
    return sorted(found, key=lambda row: row["input_a"])


@pytest.mark.parametrize("ages_s", [[(0.25, 1)], [(0.25, 2)], [(0.75, 1), (0.25, 1)], [(0.75, 2), (0.25, 1)]])
def test_each_row_is_logged_with_the_wait_and_the_time_of_its_own_request(
    tmp_path: Path, ages_s: list[tuple[float, int]]
) -> None:
    rows = logged(tmp_path, ages_s)
    waits = [row["latency_us"] for row in rows]
    ages_us = [round(age_s * 1e6) for age_s, count in ages_s for _ in range(count)]
    run_us = waits[-1] - ages_us[-1]
    assert 0 <= run_us < 20_000_000
    assert [wait - age for wait, age in zip(waits, ages_us, strict=True)] == pytest.approx(
        [run_us] * len(rows), abs=1
    )
    times_us = [round(row["time"].timestamp() * 1e6) for row in rows]
    assert times_us == [NOW_US - wait for wait in waits]


def test_only_a_plane_with_a_log_waits_for_its_disk(tmp_path: Path) -> None:
    clock = ManualClock(NOW_US)
    assert not DataPlane(None, None, clock, synced=True).syncs
    writer = SpoolWriter(tmp_path, deployment="demo", replica="r", clock=clock)
    assert DataPlane(writer, Redactor(Privacy(), None), clock, synced=True).syncs
    assert not DataPlane(writer, Redactor(Privacy(), None), clock).syncs
    writer.close()


def test_a_plane_that_is_closed_leaves_no_open_file_of_keys(tmp_path: Path) -> None:
    clock, secrets = ManualClock(NOW_US), {"HOLDFAST_MASTER_KEY": "ab" * 32}
    redactor = open_redactor(Privacy(sensitivity="high"), tmp_path, secrets, clock)
    writer = SpoolWriter(tmp_path / "log", deployment="demo", replica="r", clock=clock)
    plane = DataPlane(writer, redactor, clock)
    assert _open_below(tmp_path) != []
    plane.close()
    assert _open_below(tmp_path) == []


def _open_below(folder: Path) -> list[str]:
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link.name for link in links if link.is_relative_to(folder)]
