"""Each line of the access log says what was noted, whatever stands beside it."""

from __future__ import annotations

import json
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    st.lists(routes, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.floats(-1000, 3000),
            st.floats(0, 1000),
            st.integers(0, 100_000),
            st.integers(0, 2),
            st.sampled_from([200, 422, 503]),
            st.sampled_from(["GET", "POST"]),
            request_ids,
            st.sampled_from(["", "4bf92f3577b34da6a3ce929d0e0e4736"]),
        ),
        max_size=300,
    ),
    names,
)
def test_a_line_says_what_was_noted(
    known: list[RouteCounts],
    noted: list[tuple[float, float, int, int, int, str, str, str]],
    model: str,
) -> None:
    clock = ManualClock(NOW_US)
    clock.advance_s(2000)  # so that the two clocks differ, and requests are of before
    began_us = clock.now_us() - 2_000_000_000
    notes: list[Note] = [
        (at_s, seconds, rows, known[route % len(known)], status, method, request_id.encode(), trace.encode())
        for at_s, seconds, rows, route, status, method, request_id, trace in noted
    ]
    with tempfile.TemporaryFile() as file:
        log = AccessLog(file.fileno(), clock, model)
        for note in notes:
            log.add(note)
        log.write()
        file.seek(0)
        lines = [json.loads(line) for line in file.read().splitlines()]
    assert len(lines) == len(notes)
    for line, (at_s, seconds, rows, route, status, method, request_id, trace) in zip(
        lines, notes, strict=True
    ):
        at_us = int(began_us + at_s * 1e6)
        assert line.pop("time") in {iso_utc(at_us + near) for near in (-1, 0, 1)}
        assert line.pop("duration_ms") == pytest.approx(seconds * 1000, abs=0.000_501)
        assert line == {
            "model": model,
            "route": f"{method} {route.route}",
            "status": status,
            "rows": rows,
            "model_version": route.version,
            "request_id": request_id.decode(),
            "trace_id": trace.decode(),
        }
