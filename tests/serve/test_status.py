from __future__ import annotations

import msgspec

import holdfast.artifact
import holdfast.prediction_log
import holdfast.registry
import holdfast.runtime
import holdfast.serve.app
import holdfast.spec  # noqa: F401 - the errors of every room a worker loads must be known before they are listed
from holdfast.errors import HoldfastError
from holdfast.infer import InferError, OverloadedError
from holdfast.prediction_log import LogFullError
from holdfast.serve.errors import RequestError, ServeError
from holdfast.serve.status import STATUS, error_body, error_headers, status_of, status_of_class


def descendants(kind: type[HoldfastError]) -> set[type[HoldfastError]]:
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))


def test_every_error_of_the_rooms_a_request_passes_is_listed_by_itself() -> None:
    for root in (InferError, ServeError, RequestError):
        assert descendants(root) <= set(STATUS)


def test_every_error_there_is_has_an_error_status() -> None:
    for kind in descendants(HoldfastError):
        assert 400 <= status_of_class(kind) < 600


def test_a_log_that_refuses_is_a_service_that_is_unavailable() -> None:
    error = LogFullError("full")
    assert status_of(error) == 503
    assert error_headers(error)["retry-after"] == "1"


def test_an_overload_says_when_to_come_back_in_whole_seconds() -> None:
    error = OverloadedError("busy", retry_after_s=2.1, reason="queue")
    assert error_headers(error) == {"retry-after": "3"}
    assert msgspec.json.decode(error_body(error))["error"].startswith("busy")
