"""The real service as a process of its own, as `holdfast serve` starts it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.errors import HoldfastError

START_PATIENCE_S: Final = 30.0
STOP_PATIENCE_S: Final = 20.0
_LOG_LINES_SHOWN: Final = 20
_ADDRESS: Final = re.compile(r"http://([0-9.]+):(\d+)")


class ServiceError(HoldfastError):
    """The service did not start, died, or would not stop; the tail of its log is in the text."""


class ServiceProcess:
    """`holdfast serve` on a deployment folder, on a free port of loopback, as a context manager.

    Leaving the context stops it with SIGTERM, as an operator would, and kills its whole process group if it
    does not end in time.

    Args:
        folder: the deployment.
        extra: further arguments of `holdfast serve`.
    """

    def __init__(self, folder: Path, *extra: str) -> None:
        self.log_file = folder / "serve.log"
        self.host = "127.0.0.1"
        self.port = 0
        self._command = [
            sys.executable, "-P", "-m", "holdfast", "serve",
            "-C", str(folder), "--host", self.host, "--port", "0", *extra,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and wait until it is ready; the seconds that took.

        Raises:
            ServiceError: it ended or was not ready in time.
        """
        started = time.monotonic()
        with self.log_file.open("wb") as log:
            # A group of its own, so that a Ctrl-C reaches this process first and the stop is in order.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        while not self._is_ready():
            self.check()
            if time.monotonic() - started > START_PATIENCE_S:
                raise self._error(f"the service was not ready after {START_PATIENCE_S:g} s")
            time.sleep(0.02)
        return time.monotonic() - started

    def check(self) -> None:
        """See that it runs.

        Raises:
            ServiceError: it has ended.
        """
        if self._process is not None and self._process.poll() is not None:
            raise self._error(f"the service ended by itself with exit code {self._process.returncode}")

    def stop(self) -> int | None:
        """Stop it in order and return its exit code; None if it never ran. May be called again.

        Raises:
            ServiceError: it had to be killed.
        """
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            raise self._error(
                f"the service did not stop within {STOP_PATIENCE_S:g} s and was killed"
            ) from None
        self._process = None
        return code

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except BaseException:
            self._kill()
            if error is None:
                raise

    def _is_ready(self) -> bool:
        if not self.port:
            found = _ADDRESS.search(self.log_file.read_text(errors="replace"))
            if found is None:
                return False
            self.port = int(found[2])
        connection = http.client.HTTPConnection(self.host, self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _kill(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _error(self, what: str) -> ServiceError:
        tail = self.log_tail()
        return ServiceError(
            what,
            where=str(self.log_file),
            next_step="Its log ends with:\n" + tail if tail else "Its log is empty.",
        )
