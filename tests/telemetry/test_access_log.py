"""Each line of the access log says what was noted, whatever stands beside it."""

from __future__ import annotations

import json
import tempfile
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from holdfast.clock import ManualClock, iso_utc
from holdfast.telemetry import AccessLog, Note, RouteCounts

NOW_US = 1_770_000_000_000_000
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
routes = st.builds(
    RouteCounts,
    st.one_of(names, st.sampled_from(["/predict", "/a%d", 'TIME"', '"duration_ms":0.0,"rows":0,'])),
    names,
)
request_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)


class Noted(NamedTuple):
    """Of one request."""

    waited_s: float
    rows: int
    request_id: str
    trace_id: str


def notes_of(rows: SearchStrategy[int], ids: SearchStrategy[str]) -> SearchStrategy[list[Noted]]:
    waits = st.one_of(st.floats(0, 0.01), st.floats(0, 1000))
    trace_ids = st.sampled_from(["", "4bf92f3577b34da6a3ce929d0e0e4736"])
    return st.lists(st.builds(Noted, waits, rows, ids, trace_ids), min_size=1, max_size=40)


@settings(deadline=None)
@given(
    st.lists(routes, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.floats(-1000, 3000),
            st.integers(0, 2),
            st.sampled_from([200, 422, 503]),
            st.sampled_from(["GET", "POST"]),
            st.one_of(
                notes_of(st.integers(0, 100_000), request_ids), notes_of(st.just(1), st.sampled_from([""]))
            ),
        ),
        max_size=30,
    ),
    names,
)
def test_a_line_says_what_was_noted(
    known: list[RouteCounts], noted: list[tuple[float, int, int, str, list[Noted]]], model: str
) -> None:
    clock = ManualClock(NOW_US)
    clock.advance_s(2000)  # so that the two clocks differ, and requests are of before
    began_us = clock.now_us() - 2_000_000_000
    with tempfile.TemporaryFile() as file:
        log = AccessLog(file.fileno(), clock, model)
        for at_s, route, status, method, together in noted:
            waits_s, rows, request_ids, trace_ids = zip(*together, strict=True)
            note = Note(
                answered_s=at_s,
                route=known[route % len(known)],
                status=status,
                method=method,
                arrived_s=[at_s - one for one in waits_s],
                rows=None if set(rows) == {1} else rows,
                request_ids=[one.encode() for one in request_ids] if any(request_ids) else None,
                trace_ids=[one.encode() for one in trace_ids] if any(trace_ids) else None,
            )
            log.add(note)
        log.write()
        file.seek(0)
        lines = [json.loads(line) for line in file.read().splitlines()]
    assert log.lost == 0
    expected = [
        (at_s, route, status, method, one)
        for at_s, route, status, method, together in noted
        for one in together
    ]
    for line, (at_s, route, status, method, one) in zip(lines, expected, strict=True):
        at_us = int(began_us + at_s * 1e6)
        assert line.pop("time") in {iso_utc(at_us + near) for near in (-1, 0, 1)}
        assert line.pop("duration_ms") == pytest.approx(one.waited_s * 1000, abs=0.000_501)
        assert line == {
            "model": model,
            "route": f"{method} {known[route % len(known)].route}",
            "status": status,
            "rows": one.rows,
            "model_version": known[route % len(known)].version,
            "request_id": one.request_id,
            "trace_id": one.trace_id,
        }


def test_requests_noted_together_are_lost_together_where_not_all_have_room() -> None:
    with tempfile.TemporaryFile() as file:
        log = AccessLog(file.fileno(), ManualClock(), most_waiting=5)
        for count in (3, 3, 2, 1):
            log.add(Note(0.0, RouteCounts("/predict", "1"), 200, "POST", [0.0] * count))
        assert log.lost == 4
        log.write()
        log.add(Note(0.0, RouteCounts("/predict", "1"), 200, "POST", [0.0] * 5))
        log.write()
        file.seek(0)
        assert (log.lost, file.read().count(b"\n")) == (4, 10)
