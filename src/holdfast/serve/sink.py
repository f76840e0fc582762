"""Where the answer to one request goes, whichever transport it came by."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from holdfast.errors import HoldfastError
from holdfast.infer import Job
from holdfast.serve.caller import ANYONE, Caller


@mypyc_attr(allow_interpreted_subclasses=True)
class Sink:
    """Where the answer to one request goes.

    Args:
        caller: who asks.
    """

    __slots__ = ("caller",)

    def __init__(self, caller: Caller = ANYONE) -> None:
        self.caller = caller

    def add_header(self, line: bytes) -> None:
        """Put a line, with its end, in the head of the answer to come; a sink without one drops it."""

    def adopt(self, job: Job) -> None:
        """The job that will answer was queued only now, so whoever goes away cancels this one."""

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        """Send a 200 with this body.

        Args:
            body: JSON, or JSON with tensors behind it.
            json_bytes: how much of it is JSON, where tensors follow; None: all.
        """
        raise NotImplementedError

    def refuse(self, error: HoldfastError) -> None:
        """Send the error."""
        raise NotImplementedError
