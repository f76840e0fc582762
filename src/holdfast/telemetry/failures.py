"""What a process writes of an exception: its class and place, and its text only where that was asked for.

A model may put the values of a row into the text of an exception, and what a process writes is kept by
whoever collects it, outside of everything that `[privacy]` and `[logging]` promise.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

_LEFT_OUT: Final = "(texts are left out, as they may hold values: [logging] exception_text = true shows them)"
_JOINTS: Final = {
    True: "\nThe above exception was the direct cause of the following exception:\n\n",
    False: "\nDuring handling of the above exception, another exception occurred:\n\n",
}
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class FailureFormatter(logging.Formatter):
    """Formats records; of their exceptions it leaves out the texts.

    Args:
        text: as `logging.Formatter` takes it.
        exception_text: whether texts are shown after all.
    """

    def __init__(self, text: str, *, exception_text: bool = False) -> None:
        super().__init__(text)
        self.exception_text = exception_text

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the library's name
        """See `logging.Formatter`."""
        error = ei[1]
        if self.exception_text or error is None:
            return super().formatException(ei)
        return "".join(_described(error)) + _LEFT_OUT


def _described(error: BaseException) -> Iterator[str]:
    """The exception and what led to it, the first one first."""
    chain: list[tuple[BaseException, bool | None]] = []
    following: BaseException | None = error
    joint: bool | None = None
    while following is not None and all(following is not one for one, _ in chain):
        chain.append((following, joint))
        joint = following.__cause__ is not None
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    for one, joint_behind in reversed(chain):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(one.__traceback__)
        yield f"{_name(one)}\n"
        if isinstance(one, BaseExceptionGroup):
            for inner in one.exceptions:
                yield from _described(inner)
        if joint_behind is not None:
            yield _JOINTS[joint_behind]


def _name(error: BaseException) -> str:
    """The class; of the system's own errors their meaning too, which holds no value."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name}: {os.strerror(error.errno)}"
    return name


def log_to_stderr(process: str) -> FailureFormatter:
    """Write the warnings and errors of this process, each with the process's name before it.

    Returns:
        What formats them; its `exception_text` may be set once the checklist is known.
    """
    formatter = FailureFormatter(f"holdfast {process}: %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    return formatter
