"""The dashboard's process as the supervisor sees it: it is started by the first page that is asked for.

The supervisor opens a socket that only this user can reach. Workers hand requests for pages over to it, and
the first connection that waits there starts the process, which inherits the socket. So nothing of the
dashboard, neither its libraries nor what it reads, is ever in a process that answers predictions.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast.serve.children import Backoff, die_with_parent, exit_text

BACKLOG = 128


class DashboardProcess:
    """Started on demand, and again when it has ended and somebody asks.

    Args:
        command: what to run; the number of the inherited socket is appended. Empty: there is no dashboard.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._socket: socket.socket | None = None
        self._backoff = Backoff(longest_s=30.0)
        self._born_s = 0.0
        self._start_at_s = 0.0
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

    def tend(self) -> str | None:
        """Start the process if somebody waits for it; returns what to tell the operator, if anything."""
        if self._socket is None:
            return None
        now_s = time.monotonic()
        said = None
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            if code != 0:
                wait_s = self._backoff.next_s(now_s - self._born_s)
                self._start_at_s = now_s + wait_s
                said = f"the dashboard ended ({exit_text(code)}); it starts again when it is asked for"
            self.process = None
        if now_s >= self._start_at_s and select.select([self._socket], [], [], 0)[0]:
            self._born_s = now_s
            descriptor = self._socket.fileno()
            self.process = subprocess.Popen(
                [*self._command, str(descriptor)],
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - no threads here
            )
        return said

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
