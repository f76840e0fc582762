"""A model that puts a row's values into its exception: the service writes where it failed, and no value."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

import pytest
from live_service import Start, linear_model, starting

from holdfast.telemetry import FailureFormatter

start = starting


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What a worker would write to standard error."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FailureFormatter("%(message)s"))
    root = logging.getLogger("holdfast")
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def telling(feeds: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError(f"cannot take {feeds['x'].tolist()}")


def test_a_value_in_the_text_of_a_models_exception_is_not_written(start: Start, written: StringIO) -> None:
    model = linear_model()
    server = start(model)
    model._runtime.run = telling  # type: ignore[method-assign]  # a model that fails
    model._run_row = None
    status, body, _ = server.ask("POST", "/predict", {"a": 8191, "b": 2})
    assert (status, body["received"]) == (500, "ValueError")
    assert "8191" not in written.getvalue() + str(body)
    assert "in telling" in written.getvalue()
    assert "\nValueError\n" in written.getvalue()
