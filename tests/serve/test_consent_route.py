from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_service import Start, linear_model, starting

from holdfast.clock import SystemClock
from holdfast.privacy import SubjectStore, subject_pseudonym
from holdfast.serve.consent import ConsentBook

start = starting
KEY = b"a pseudonym key of many bytes"


def test_consent_is_recorded_under_a_pseudonym_and_who_recorded_it(start: Start, tmp_path: Path) -> None:
    server = start(linear_model())
    server.service.consents = book = ConsentBook(tmp_path, KEY, SystemClock())
    status, body, _ = server.ask("POST", "/consent", {"subject": "patient-4711", "consent": True})
    assert (status, body) == (200, {"accepted": 1})
    many = [
        {"subject": "patient-4711", "consent": False, "at": "2026-03-14T02:00:00Z"},
        {"prediction_id": "p1", "consent": True},
    ]
    assert server.ask("POST", "/consent", many)[1] == {"accepted": 2}
    with SubjectStore(tmp_path) as store:
        found = store.consents()
    pseudonym = subject_pseudonym(KEY, "patient-4711")
    assert [(one.subject, one.prediction_id, one.agreed) for one in found] == [
        (pseudonym, None, False),
        (pseudonym, None, True),
        (None, "p1", True),
    ]
    assert {one.recorded_by for one in found} == {"anybody"}
    assert b"patient-4711" not in b"".join(path.read_bytes() for path in tmp_path.glob("subjects.db*"))
    book.close()


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        1,
        {"subject": "a"},
        {"subject": "a", "prediction_id": "b", "consent": True},
        {"consent": True},
        {"subject": "a", "consent": "yes"},
        {"subject": "a", "consent": 1},
        {"subject": ["a"], "consent": True},
        {"subject": "", "consent": True},
        {"subject": True, "consent": True},
        {"subject": "a", "consent": True, "at": "soon"},
        {"subject": "a", "consent": True, "at": 5},
        {"subject": "a", "consent": True, "until": "never"},
        [{"subject": "a", "consent": True}, {"subject": "b"}],
    ],
)
def test_a_statement_that_is_unclear_is_refused_and_nothing_of_the_request_is_kept(
    start: Start, tmp_path: Path, body: Any
) -> None:
    server = start(linear_model())
    server.service.consents = book = ConsentBook(tmp_path, KEY, SystemClock())
    status, answer, _ = server.ask("POST", "/consent", body)
    if body == []:
        assert (status, answer) == (200, {"accepted": 0})
    else:
        assert status == 422
    with SubjectStore(tmp_path) as store:
        assert store.consents() == []
    book.close()


def test_without_a_pseudonym_key_only_predictions_can_be_named(start: Start, tmp_path: Path) -> None:
    server = start(linear_model())
    server.service.consents = book = ConsentBook(tmp_path, None, SystemClock())
    assert server.ask("POST", "/consent", {"subject": "a", "consent": True})[0] == 503
    assert server.ask("POST", "/consent", {"prediction_id": "a", "consent": True})[0] == 200
    book.close()
