from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from live_service import Start, linear_model, starting

from holdfast.clock import ManualClock, SystemClock
from holdfast.infer import InputError, MalformedBodyError
from holdfast.prediction_log import Label, erase
from holdfast.serve.labels import read_labels

start = starting

CLOCK = ManualClock(5_000_000)


def test_labels_are_written_and_counted(start: Start, tmp_path: Path) -> None:
    server = start(linear_model())
    status, body, _ = server.ask("POST", "/labels", {"prediction_id": "x", "label": 1})
    assert (status, body) == (200, {"accepted": 1})
    lines = b"\n".join(b'{"prediction_id": "p%d", "y": "%d"}' % (i, i) for i in range(5))
    assert server.ask("POST", "/labels", lines, {"content-type": "application/x-ndjson"})[1] == {
        "accepted": 5
    }
    writer = server.service.plane.writer
    assert writer is not None
    assert writer.labels == 6


def test_one_a_list_and_lines_are_read_alike() -> None:
    one = {"prediction_id": "a", "label": True, "observed_at": "1970-01-01T00:00:01Z"}
    expected = Label(prediction_id="a", y=True, observed_at_us=1_000_000)
    assert read_labels(json.dumps(one).encode(), CLOCK) == [expected]
    assert read_labels(json.dumps([one, one]).encode(), CLOCK) == [expected] * 2
    assert read_labels(json.dumps(one, indent=2).encode(), CLOCK) == [expected]
    line = json.dumps(one).encode()
    assert read_labels(line + b"\n\n" + line + b"\n", CLOCK) == [expected] * 2
    assert read_labels(line, CLOCK, lines=True) == [expected]
    assert read_labels(b"", CLOCK, lines=True) == []


def test_without_a_time_a_label_was_observed_now() -> None:
    assert read_labels(b'{"prediction_id": 7, "y": null}', CLOCK) == [Label("7", None, 5_000_000)]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (3, "$"),
        ([{"prediction_id": "a"}], "$[0].label"),
        ({"label": 1}, "$.prediction_id"),
        ({"prediction_id": "", "label": 1}, "$.prediction_id"),
        ({"prediction_id": True, "label": 1}, "$.prediction_id"),
        ({"prediction_id": "a", "label": [1]}, "$.label"),
        ({"prediction_id": "a", "label": 1, "y": 1}, "$.y"),
        ({"prediction_id": "a", "label": 1, "observed_at": "soon"}, "$.observed_at"),
        ({"prediction_id": "a", "label": 1, "observed_at": 5}, "$.observed_at"),
        ({"prediction_id": "a", "label": 1, "observed_at": "9999-12-31T23:00:00-02:00"}, "$.observed_at"),
        ({"prediction_id": "a", "label": 1, "observed_at": "0001-01-01T01:00:00+02:00"}, "$.observed_at"),
        ({"prediction_id": "a", "lable": 1}, "$.lable"),
    ],
)
def test_a_wrong_label_is_refused_with_its_path(value: Any, where: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(json.dumps(value).encode(), CLOCK)
    assert caught.value.where == where


def test_a_broken_line_is_named_by_its_number() -> None:
    with pytest.raises(MalformedBodyError) as caught:
        read_labels(b'{"prediction_id": "a", "y": 1}\nnonsense\n', CLOCK, lines=True)
    assert caught.value.where == "line 2"


def test_blank_lines_are_lines_but_no_labels() -> None:
    good = b'{"prediction_id": "a", "y": 1}\n'
    with pytest.raises(MalformedBodyError) as broken:
        read_labels(b"\n\n" + good + b"\n  \nnonsense\n", CLOCK, lines=True)
    assert broken.value.where == "line 6"
    with pytest.raises(InputError) as wrong:
        read_labels(b"\n" + good + b"\n\r\n" + b'{"prediction_id": "a"}\n', CLOCK, lines=True)
    assert wrong.value.where == "$[1].label"


def test_labels_of_erased_predictions_are_refused_and_counted(start: Start, tmp_path: Path) -> None:
    server = start(linear_model())
    erase(tmp_path / "log", SystemClock(), prediction_ids=["gone", "gone too"])
    one, other, here = ({"prediction_id": name, "label": 1} for name in ("gone", "gone too", "here"))
    status, body, _ = server.ask("POST", "/labels", [here, one, other])
    assert status == 200
    assert body["accepted"] == 1
    assert [refused["where"] for refused in body["refused"]] == ["$[1].prediction_id", "$[2].prediction_id"]
    status, body, _ = server.ask("POST", "/labels", one)
    assert (status, body["where"]) == (410, "$.prediction_id")
    assert "erased on request" in body["error"]
    counts = server.service.counts.log
    assert (counts.labels, counts.labels_refused) == (1, 3)


def test_labels_that_are_no_numbers_beside_answers_that_are_cost_the_others_nothing(start: Start) -> None:
    server = start(linear_model())
    sent = [{"prediction_id": str(at), "y": y} for at, y in enumerate((1, "dear", "2.5", None, "512.345,50"))]
    status, body, _ = server.ask("POST", "/labels", sent)
    assert (status, body["accepted"]) == (200, 3)
    assert [(one["where"], one["received"]) for one in body["refused"]] == [
        ("$[1]", "text"),
        ("$[4]", "text"),
    ]
    status, body, _ = server.ask("POST", "/labels", sent[1])
    assert (status, body["where"], body["expected"][:8]) == (422, "$", "a number")
    counts = server.service.counts.log
    assert (counts.labels, counts.labels_unfit) == (3, 3)


@pytest.mark.interpreted
def test_a_fault_of_ours_in_any_route_is_told_as_json_and_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(linear_model())

    def fail(*_: object) -> None:
        raise ZeroDivisionError("of label 41")

    monkeypatch.setattr(server.service.plane, "append_labels", fail)
    status, told, _ = server.ask("POST", "/labels", {"prediction_id": "a", "label": 41})
    assert (status, told["received"]) == (500, "ZeroDivisionError")
    assert "41" not in json.dumps(told)
    assert server.service.counts.route("/labels").statuses == {500: 1}
    assert server.ask("POST", "/labels", {"y": 1}, {"x-request-timeout-ms": "soon"})[0] == 400
    assert server.service.counts.route("/labels").statuses == {500: 1, 400: 1}
