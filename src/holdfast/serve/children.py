"""Child processes: workers and background commands, each restarted when it ends by itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from holdfast.serve.control import Message, Reader, frame
from holdfast.serve.large_pages import with_large_pages

_PR_SET_PDEATHSIG: Final = 1
START_AGAIN_S: Final = 5.0
"""After the system refused a process, for want of memory, of processes or of open files."""
_STEADY_S: Final = 10.0
"""A child that has lived this long has recovered: its next restart is immediate again."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A command that runs beside the workers as long as the service does."""

    name: str
    command: Sequence[str]
    during: Literal["service", "rollout"] = "service"
    """rollout: only while one is open."""


@dataclass(slots=True)
class Backoff:
    """How long to wait before a restart: nothing at first, then doubling."""

    longest_s: float
    failures: int = 0

    def next_s(self, lived_s: float) -> float:
        """Seconds to wait after a child that lived that long."""
        if lived_s > _STEADY_S:
            self.failures = 0
        self.failures += 1
        return 0.0 if self.failures == 1 else min(0.1 * 2.0 ** min(self.failures - 2, 20), self.longest_s)


@dataclass(slots=True)
class WorkerProcess:
    """One life of a worker."""

    index: int
    replica: str
    process: subprocess.Popen[bytes]
    control: socket.socket
    reader: Reader = field(default_factory=Reader)
    born_s: float = field(default_factory=time.monotonic)
    answered: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    """Generation of the last route that the worker has followed, and the version that then answers, by
    deployment."""
    draining: bool = False

    @property
    def resident_bytes(self) -> int:
        """Memory of the process; 0 where the system does not say, or it is gone."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def send(self, message: Message) -> None:
        """Tell the worker; a dead one is noticed elsewhere.

        One that has not listened for so long that it got a part of the message must not take the next one
        for the rest: it is cut off, ends as if we were gone, and is started again.
        """
        try:
            self.control.sendall(frame(message))
        except OSError:
            with contextlib.suppress(OSError):
                self.control.shutdown(socket.SHUT_RDWR)


def start_worker(index: int, listening: socket.socket, copies: Sequence[socket.socket]) -> WorkerProcess:
    """Start a worker on an inherited socket, with the ends into which it may put copies.

    Raises:
        OSError: the system refuses another process.
    """
    ours, theirs = socket.socketpair()
    ours.settimeout(5.0)
    name = f"worker-{index}-{secrets.token_hex(4)}"
    handed = (listening.fileno(), theirs.fileno(), *(one.fileno() for one in copies))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast.serve.worker", *map(str, handed)],
            pass_fds=handed,
            stdin=subprocess.DEVNULL,
            env=with_large_pages(os.environ),
            # One that is still starting dies at once and lets go of the port; one that runs drains.
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - no threads here
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return WorkerProcess(index, name, process, ours)


class Background:
    """A background command over all its lives."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff(longest_s=30.0)
        self._born_s = 0.0
        self._start_at_s = 0.0
        self._asked_to_end = False

    def keep_alive(self, now_s: float) -> str | None:
        """Start it if it is time; returns what to tell the operator, if anything."""
        said = None
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            wait_s = self._backoff.next_s(now_s - self._born_s)
            self._start_at_s = now_s + wait_s
            if not (self._asked_to_end and code in {0, -signal.SIGTERM}):
                said = f"{self.spec.name} ended ({exit_text(code)}); starting it again" + (
                    f" in {wait_s:.1f} s" if wait_s else ""
                )
            self.process = None
        if self.process is None and now_s >= self._start_at_s:
            self._born_s = now_s
            self._asked_to_end = False
            try:
                self.process = subprocess.Popen(
                    list(self.spec.command),
                    stdin=subprocess.DEVNULL,
                    preexec_fn=die_with_parent(),  # noqa: PLW1509 - no threads here
                )
            except OSError as error:  # no memory or no process left: the service goes on without it
                self._start_at_s = now_s + START_AGAIN_S
                said = cannot_start(self.spec.name, error)
        return said

    def rest(self) -> None:
        """Ask it to end, since nothing is to do for it; that it then ends is no news."""
        self.stop()
        if self.process is not None and self.process.poll() is not None:
            self.process = None
            self._start_at_s = 0.0

    def stop(self) -> None:
        """Ask it to end; that it then does is no news."""
        if self.process is not None:
            self._asked_to_end = True
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()


def cannot_start(what: str, error: OSError) -> str:
    """What the operator hears where the system refuses a process."""
    return f"{what} cannot be started: {error}; trying again in {START_AGAIN_S:g} s"


def die_with_parent() -> Callable[[], Any] | None:
    """What a child calls before its program starts: SIGTERM when we die, however we die. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def exit_text(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit {code}"
    with contextlib.suppress(ValueError):  # not every signal has a name
        return signal.Signals(-code).name
    return f"signal {-code}"


class Place:
    """One worker's place: its socket, and who sits there."""

    def __init__(self, index: int, listening: socket.socket) -> None:
        self.index = index
        self.listening = listening
        self.current: WorkerProcess | None = None
        self.leaving: list[WorkerProcess] = []
        self.backoff = Backoff(longest_s=5.0)
        self.start_at_s = 0.0
        self.early_deaths = 0
        self.was_ready = False

    def wait_after(self, error: OSError, now_s: float) -> str:
        """Start nobody here for a while; what to tell the operator."""
        self.start_at_s = now_s + START_AGAIN_S
        return cannot_start(f"worker {self.index}", error)
