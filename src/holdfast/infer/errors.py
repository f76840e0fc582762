"""What can go wrong between a request and its answer."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class InferError(HoldfastError):
    """A request that has no answer."""


class MalformedBodyError(InferError):
    """The body cannot be read at all: no JSON, or not of the shape the protocol asks for."""


class InputError(InferError):
    """A record does not fit the model's signature; `where` is the path to the value."""


class TooManyRowsError(InferError):
    """One request holds more rows than `[predictions] max_rows_per_request`."""


class UnknownModelError(InferError):
    """No model of that name or no such version is loaded here."""


class NotReadyError(InferError):
    """No champion is loaded yet, or the service is closing."""


class OverloadedError(InferError):
    """The answer would come too late, or the queue is full, so the request is refused at once.

    Args:
        retry_after_s: seconds after which the queue will have gone down.
        reason: for the refusal counter. `queue`: others are in front of it; `deadline`: it would be late by
            itself; `latency`: too many would come later than the latency target; `expired`: its deadline
            passed while it waited.
    """

    def __init__(self, what: str, *, retry_after_s: float, reason: str, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step or "Try again after the time in Retry-After.")
        self.retry_after_s = retry_after_s
        self.reason = reason


class ModelFailedError(InferError):
    """The model raised an error, or gave an answer that does not fit its signature, for these rows."""
