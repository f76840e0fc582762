"""The supervisor's side of a challenger's own process: started with a rollout, restarted when it dies."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time

from holdfast.serve.children import (
    START_AGAIN_S,
    Backoff,
    cannot_start,
    die_with_parent,
    exit_text,
)
from holdfast.serve.control import Challenger
from holdfast.serve.large_pages import with_large_pages
from holdfast.spec import Deployment

STOP_S = 5.0


class ShadowProcess:
    """Owns the socket of copies all the time, and a process at its other end while there is a challenger."""

    def __init__(self) -> None:
        self.copies, self._reading = make_pair()
        self.process: subprocess.Popen[bytes] | None = None
        self._deployment: Deployment | None = None
        self._challenger: Challenger | None = None
        self._replica = ""
        self._backoff = Backoff(longest_s=10.0)
        self._died = False
        self._born_s = self._start_at_s = 0.0
        self._kill_at_s: float | None = None
        """When the process that was asked to end is made to; None: it was not asked."""

    def follow(self, deployment: Deployment, challenger: Challenger | None) -> None:
        """From now on this one; the one before ends first, for which nobody waits here."""
        before, self._challenger = self._challenger, challenger
        self._deployment = deployment
        if before is None or challenger is None or before.version != challenger.version:
            self._ask_to_end()
            self._backoff = Backoff(longest_s=10.0)
            self._start_at_s = 0.0
            self._died = False

    def tend(self, now_s: float) -> str | None:
        """Start it if it is time; returns what to tell the operator, if anything."""
        said = None
        challenger, deployment = self._challenger, self._deployment
        if self._kill_at_s is not None and not self._has_ended(now_s, self._kill_at_s):
            return None
        self._kill_at_s = None
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            self._bury()
            if challenger is not None:
                self._died = True
                wait_s = self._backoff.next_s(now_s - self._born_s)
                self._start_at_s = now_s + wait_s
                said = (
                    f"the shadow of version {challenger.version} ended ({exit_text(code)}); callers are not "
                    f"touched; starting it again in {wait_s:.1f} s"
                )
        if challenger is not None and deployment is not None and self.process is None:
            if now_s < self._start_at_s:
                return said
            self._born_s = now_s
            self._replica = f"shadow-{challenger.version}-{secrets.token_hex(4)}"
            end = self._reading.fileno()
            place = [str(end), str(deployment.folder), challenger.version, challenger.artifact]
            place += [self._replica, str(int(self._died))]
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "holdfast.serve.shadow", *place],
                    pass_fds=(end,),
                    stdin=subprocess.DEVNULL,
                    env=with_large_pages(os.environ),
                    preexec_fn=die_with_parent(),  # noqa: PLW1509 - no threads here
                )
            except OSError as error:
                self._start_at_s = now_s + START_AGAIN_S
                said = cannot_start(f"the shadow of version {challenger.version}", error)
        return said

    def _ask_to_end(self) -> None:
        if self.process is None or self._kill_at_s is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        self._kill_at_s = time.monotonic() + STOP_S

    def _has_ended(self, now_s: float, kill_at_s: float) -> bool:
        """Whether the process that was asked to end has; it is made to where it does not care."""
        if self.process is not None and self.process.poll() is None and now_s < kill_at_s:
            return False
        self.kill()
        return True

    def stop(self) -> None:
        """End the process, by force if it does not care."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self._bury()

    def close(self) -> None:
        """Give the socket back."""
        self.copies.close()
        self._reading.close()

    def _bury(self) -> None:
        self.process = None
        if self._deployment is not None:
            # Loads numpy, for which the first worker need not wait.
            from holdfast.telemetry import retire

            with contextlib.suppress(OSError):  # a full disk: its file is counted as it stands
                retire(self._deployment.run_folder, self._replica)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """The workers' end and the challenger's: messages arrive whole."""
    kind = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_DGRAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return ours, theirs
