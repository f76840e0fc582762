"""Wake-ups that are finer than the event loop's milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_ABSOLUTE: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0
_SOONEST_S: Final = 20e-6
"""Nearer arrivals share a wake-up: a system call takes as long."""


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Calls back once at a moment of the monotonic clock; setting it again replaces the moment.

    On Linux a timerfd, exact to some ten microseconds; elsewhere the loop's own timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor >= 0:
            self._spec = _Spec(0, 0, 0, 0)
            self._pointer = ctypes.byref(self._spec)
            loop.add_reader(self._descriptor, self._fired)

    def set(self, at_s: float) -> None:
        """Call back at that moment, or at once if it has passed."""
        if self._descriptor < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(max(at_s - time.monotonic(), 0), self._callback)
            return
        at_s = max(at_s, time.monotonic() + _SOONEST_S)
        seconds = int(at_s)
        self._spec.value_s = seconds
        self._spec.value_ns = int((at_s - seconds) * 1e9)
        self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, self._pointer, None)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._handle is not None:
            self._handle.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _fired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._callback()
