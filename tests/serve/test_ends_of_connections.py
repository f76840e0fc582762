"""A connection that cannot be read any further: what is told at once, and what waits for an answer."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import HoldfastError
from holdfast.serve.connection_state import Waiting, ends_otherwise

ERROR = HoldfastError("a line is too long")


def cycle(*, more_body: bool, started: bool = False) -> Any:
    """Of uvicorn, as far as the end of a connection looks at it."""
    closed: list[bool] = []
    return SimpleNamespace(
        more_body=more_body,
        keep_alive=True,
        disconnected=False,
        response_started=started,
        message_event=asyncio.Event(),
        transport=SimpleNamespace(close=lambda: closed.append(True)),
        closed=closed,
    )


def test_behind_hot_requests_the_answer_waits_by_itself() -> None:
    assert not ends_otherwise(Waiting(), deque(), ERROR)


def test_a_whole_request_before_it_is_answered_and_then_the_connection_ends() -> None:
    earlier = cycle(more_body=False)
    assert ends_otherwise(earlier, deque(), ERROR)
    assert (earlier.keep_alive, earlier.disconnected, earlier.closed) == (False, False, [])


def test_of_a_request_that_waits_for_another_the_error_takes_the_place() -> None:
    waits = cycle(more_body=True)
    pipeline: deque[tuple[Any, Any]] = deque([(waits, "the application"), (None, "one before")])
    assert ends_otherwise(waits, pipeline, ERROR)
    assert (waits.keep_alive, waits.disconnected) == (False, False)
    assert pipeline[0][0] is waits
    assert pipeline[0][1] != "the application"
    assert pipeline[1] == (None, "one before")


@pytest.mark.parametrize("started", [False, True])
def test_a_request_whose_body_never_comes_is_ended_and_told_unless_its_answer_has_begun(
    started: bool,
) -> None:
    reading = cycle(more_body=True, started=started)
    assert ends_otherwise(reading, deque(), ERROR) is started
    assert reading.disconnected
    assert reading.message_event.is_set()
    assert reading.closed == ([True] if started else [])
