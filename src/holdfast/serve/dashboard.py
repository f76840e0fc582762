"""The dashboard's process as the supervisor sees it: kept ready, or started by the first page asked for.

The supervisor opens a socket that only this user can reach. Workers hand requests for pages over to it, and
the process inherits the socket. A connection that waits there starts it; where it is kept ready it is started
a second after the service answers, behind the predictions in the queue for a core. So nothing of the
dashboard, neither its libraries nor what it reads, is ever in a process that answers predictions.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from holdfast.serve.children import START_AGAIN_S, Backoff, cannot_start, die_with_parent, exit_text

BACKLOG = 128
READY_AFTER_S = 1.0
"""After the service began to answer. Its start takes about a second of a core, behind the workers."""
NICENESS = 5
"""A page gets a third of the processor time of a worker where both want all of it."""


class DashboardProcess:
    """Started on demand, and again when it has ended and somebody asks.

    Args:
        command: what to run; the number of the inherited socket is appended. Empty: there is no dashboard.
        keep: whether it runs before anybody looks, and again when it has ended.
        ready_after_s: how long after the first answer it is started then.
    """

    def __init__(
        self, command: Sequence[str], *, keep: bool = False, ready_after_s: float = READY_AFTER_S
    ) -> None:
        self._command = list(command)
        self._keep = keep
        self._ready_after_s = ready_after_s
        self._keep_from_s = float("inf")
        self._socket: socket.socket | None = None
        self._backoff = Backoff(longest_s=30.0)
        self._born_s = 0.0
        self._start_at_s = 0.0
        self._asked_to_end = False
        self.process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def listen(self) -> Iterator[str]:
        """Open the socket, in a folder of this user's own; gives its path, "" without a dashboard."""
        if not self._command:
            yield ""
            return
        folder = Path(tempfile.mkdtemp(prefix="holdfast-"))
        try:
            path = folder / "ui"
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.bind(str(path))
            self._socket.listen(BACKLOG)
            yield str(path)
        finally:
            if self._socket is not None:
                self._socket.close()
            shutil.rmtree(folder, ignore_errors=True)

    def tend(self, *, answering: bool = False) -> str | None:
        """Start the process if somebody waits for it or it is to be ready.

        Args:
            answering: whether the service answers predictions.

        Returns:
            What to tell the operator, if anything.
        """
        if self._socket is None:
            return None
        now_s = time.monotonic()
        if self._keep and answering and self._keep_from_s == float("inf"):
            self._keep_from_s = now_s + self._ready_after_s
        said = None
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            if code != 0 and not (self._asked_to_end and code == -signal.SIGTERM):  # before it could listen
                wait_s = self._backoff.next_s(now_s - self._born_s)
                self._start_at_s = now_s + wait_s
                when = f"in {wait_s:.1f} s" if self._keep else "when it is asked for"
                said = f"the dashboard ended ({exit_text(code)}); it starts again {when}"
            self.process = None
        wanted = now_s >= self._keep_from_s or select.select([self._socket], [], [], 0)[0]
        if now_s >= self._start_at_s and wanted:
            self._born_s = now_s
            self._asked_to_end = False
            descriptor = self._socket.fileno()
            try:
                self.process = subprocess.Popen(
                    [*self._command, str(descriptor)],
                    pass_fds=(descriptor,),
                    stdin=subprocess.DEVNULL,
                    preexec_fn=_behind_the_workers(),  # noqa: PLW1509 - no threads here
                )
            except OSError as error:
                self._start_at_s = now_s + START_AGAIN_S
                said = cannot_start("the dashboard", error)
        return said

    def stop(self) -> None:
        """Ask it to end; that it then does is no news."""
        if self.process is not None:
            self._asked_to_end = True
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()


def _behind_the_workers() -> Callable[[], None]:
    """What the process calls before its program starts."""
    die = die_with_parent()

    def prepare() -> None:
        if die is not None:
            die()
        with contextlib.suppress(OSError):
            os.nice(NICENESS)

    return prepare
