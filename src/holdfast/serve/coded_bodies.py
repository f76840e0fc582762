"""Compressed bodies of hot routes: requests inflated before their rows are read, answers compressed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError
from holdfast.infer import Job
from holdfast.serve.content_coding import Coding, compressing, inflating
from holdfast.serve.hot import Take
from holdfast.serve.service import Service
from holdfast.serve.sink import Sink
from holdfast.serve.slices import too_many_bodies

if TYPE_CHECKING:
    from holdfast.serve.slot import Slot


def inflated(take: Take, service: Service, route: str, coding: Coding) -> Take:
    """Who takes the compressed body, where `take` takes the plain one; a long one comes in a later turn.

    Args:
        take: gets the plain body.
        service: that answers.
        route: under which a body that cannot be read is counted.
        coding: of the body.
    """

    def take_compressed(body: bytes, sink: Sink) -> Job | None:
        arrived_s = time.monotonic()
        job: Job | None = None

        def done(outcome: bytes | HoldfastError) -> None:
            nonlocal job
            if isinstance(outcome, HoldfastError):
                service.count_error(service.counts.route(route), outcome, arrived_s, sink)
                sink.refuse(outcome)
                return
            job = take(outcome, sink)
            if job is not None:
                job.arrived_s = arrived_s
                sink.adopt(job)

        patience_s = service.checklist.speed.deadline_ms / 1000
        if sink.caller.patience_s is not None:
            patience_s = min(patience_s, sink.caller.patience_s)
        work = inflating(body, coding, service.max_body_bytes)
        if not service.slices.start(work, done, arrived_s + patience_s):
            done(too_many_bodies())
        return job

    return take_compressed


def respond_coded(slot: Slot, coding: Coding, body: bytes, json_bytes: int | None) -> None:
    """Send an answer compressed, where that makes it smaller and not too many others wait for it.

    Args:
        slot: takes the answer.
        coding: that the caller likes.
        body: plain.
        json_bytes: see `Sink.respond`; counts the plain body.
    """
    slot.coding = ""
    slot.add_header(b"vary: accept-encoding\r\n")

    def done(outcome: bytes | HoldfastError) -> None:
        if isinstance(outcome, bytes) and len(outcome) < len(body):
            slot.add_header(b"content-encoding: %b\r\n" % coding.encode())
            slot.respond(outcome, json_bytes)
        else:
            slot.respond(body, json_bytes)

    if not slot.protocol.service.slices.start(compressing(body, coding), done):
        slot.respond(body, json_bytes)
