"""Long work for single requests, done in slices between the turns of the loop: nobody else waits for it.

A thread would not help: a worker is one of as many processes as there are cores.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Final

from holdfast.errors import HoldfastError
from holdfast.infer import OverloadedError
from holdfast.infer.refusals import expired
from holdfast.serve.errors import ServeError

Work = Generator[None, None, bytes]
"""Stops after each piece, none of which takes longer than a millisecond; returns what was to be made."""
Done = Callable[[bytes | HoldfastError], None]

SLICE_S: Final = 0.001
MOST_WAITING: Final = 64
"""Pieces of work that are begun and not ended."""
logger = logging.getLogger("holdfast.serve")


class Slices:
    """Does what is given to it in the order of arrival, one slice in each turn of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Work, Done, float]] = deque()

    def start(self, work: Work, done: Done, until_s: float = math.inf) -> bool:
        """Begin; what takes no longer than one slice is done at once.

        Args:
            work: to be done.
            done: is told what came of it, in the loop.
            until_s: monotonic time after which nobody wants it.

        Returns:
            False: too much waits already, and `done` is told nothing.
        """
        outcome = _advance(work)
        if outcome is not None:
            done(outcome)
            return True
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append((work, done, until_s))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._turn)
        return True

    async def finish(self, work: Work) -> bytes:
        """What the work makes.

        Raises:
            OverloadedError: too much waits already.
            HoldfastError: whatever the work raises.
        """
        future: asyncio.Future[bytes | HoldfastError] = asyncio.get_running_loop().create_future()

        def done(outcome: bytes | HoldfastError) -> None:
            if not future.done():
                future.set_result(outcome)

        if not self.start(work, done):
            raise too_many_bodies()
        outcome = await future
        if isinstance(outcome, HoldfastError):
            raise outcome
        return outcome

    def _turn(self) -> None:
        work, done, until_s = self._waiting[0]
        outcome = expired() if time.monotonic() > until_s else _advance(work)
        if outcome is not None:
            self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        if outcome is not None:
            done(outcome)


def _advance(work: Work) -> bytes | HoldfastError | None:
    """Work for one slice; None: there is more to do."""
    until_s = time.monotonic() + SLICE_S
    try:
        while True:
            next(work)
            if time.monotonic() > until_s:
                return None
    except StopIteration as end:
        made: bytes = end.value
        return made
    except HoldfastError as error:
        return error
    except Exception as error:
        # A fault of ours is told as any other, and ends nobody else's request.
        logger.exception("a body could not be read or made")
        return ServeError("the body could not be read or made", received=type(error).__name__)


def too_many_bodies() -> OverloadedError:
    """The error for a long body that would have to wait for too many others."""
    return OverloadedError(
        f"{MOST_WAITING} long compressed bodies are being read already", retry_after_s=1.0, reason="queue"
    )
