"""The OpenAPI document names every status that its operations answer with."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from live_service import Server, Start, linear_model, starting

from holdfast.serve.guarding import OPEN
from holdfast.serve.openapi import openapi
from holdfast.serve.status import STATUS
from holdfast.spec import parse_checklist

start = starting
KEYS = f'[security]\nauth = "keys"\napi_key_hashes = ["{hashlib.sha256(b"secret").hexdigest()}"]\n'
SMALL = "[predictions]\nmax_body_bytes = 1024\nmax_rows_per_request = 2\n"
KEY = {"authorization": "Bearer secret"}
BODIES: tuple[Any, ...] = (
    None,
    b"{",
    b" " * 1100,
    [{"a": 1, "b": 2}] * 3,
    {"a": 1},
    {"a": 1, "b": 2},
    {"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": ["x"]}]},
    {"instances": [{"a": 1, "b": 2}]},
    {"prediction_id": "x", "label": 1},
    {"prediction_id": "x", "label": []},
    {"consent": 3},
    {"parameters": {"version": "9", "other": 1}},
    {"parameters": {"version": "9"}},
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"authorization": "Bearer other"},
    KEY,
    KEY | {"content-type": "image/png"},
    KEY | {"content-encoding": "br"},
    KEY | {"content-encoding": "gzip"},
    KEY | {"x-request-timeout-ms": "soon"},
    KEY | {"x-request-timeout-ms": "0.000001"},
    KEY | {"inference-header-content-length": "x"},
)


def operations(document: Any) -> Iterator[tuple[str, str, set[int]]]:
    """Method, path and described statuses."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, {int(status) for status in operation["responses"]}


def given(server: Server, method: str, path: str) -> set[int]:
    """What an operation answers to a number of good and bad requests."""
    paths = {path.replace("{version}", version) for version in ("1", "9")}
    body = {"a": 1, "b": 2} if method == "POST" else None
    asked = [(body, headers) for headers in HEADERS]
    asked += [(one, KEY) for one in BODIES] if method == "POST" else []
    return {server.ask(method, one, *each)[0] for one in paths for each in asked}


def test_every_status_that_an_operation_answers_with_is_described(start: Start) -> None:
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    described: dict[tuple[str, str], set[int]] = {}
    limited = KEYS + "requests_per_s_per_key = 0.001\n"
    for model, toml in (
        (linear_model(), KEYS + SMALL),
        (None, KEYS + SMALL),
        (linear_model(), limited),
        (linear_model(), SMALL),
    ):
        server = start(model, toml)
        document = openapi(server.service.checklist, linear_model().signature, "1", [], open_paths=OPEN)
        for method, path, statuses in operations(document):
            described.setdefault((method, path), set()).update(statuses)
            answered = given(server, method, path)
            assert answered <= statuses, (method, path, toml)
            found[method, path] |= answered
    assert set().union(*found.values()) >= {200, 400, 401, 403, 404, 413, 415, 422, 429, 503}


def test_every_status_of_the_service_is_described_somewhere() -> None:
    checklist = parse_checklist('[model]\nname = "demo"\n' + KEYS, source="test")
    document = openapi(checklist, linear_model().signature, "1", [])
    described = set().union(*(statuses for _, _, statuses in operations(document)))
    assert set(STATUS.values()) - {405} <= described  # no described operation has another method
    assert 410 in described


@pytest.mark.parametrize(("toml", "asked"), [(KEYS, True), ("", False)])
def test_statuses_of_keys_are_described_where_keys_are_asked_for(toml: str, *, asked: bool) -> None:
    checklist = parse_checklist('[model]\nname = "demo"\n' + toml, source="test")
    document = openapi(checklist, None, None, [], open_paths=frozenset({"/livez"}))
    of_path = {path: statuses for _, path, statuses in operations(document)}
    assert ({401, 403, 429} <= of_path["/predict"]) is asked
    assert ({401, 403, 429} <= of_path["/metrics"]) is asked
    assert not {401, 403, 429} & of_path["/livez"]


def test_codings_are_described_where_a_body_is_taken_and_the_readable_ones_with_their_refusal() -> None:
    checklist = parse_checklist('[model]\nname = "demo"\n', source="test")
    document = openapi(checklist, linear_model().signature, "1", [])
    taken = [one for path in document["paths"].values() for one in path.values() if "requestBody" in one]
    assert len(taken) > 8
    for operation in taken:
        headers = [one["name"] for one in operation["parameters"] if one["in"] == "header"]
        assert {"Content-Encoding", "Accept-Encoding"} <= set(headers)
        assert len(headers) == len(set(headers))
        assert "Accept-Encoding" in operation["responses"]["415"]["headers"]
