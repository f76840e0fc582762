"""The real service, run as a user runs it, inside the stated compute."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.check.confines import Confines, Usage
from holdfast.check.errors import CheckError
from holdfast.check.memory import Peak, Resident, peak_of
from holdfast.loadtest import UnreachableError, running_service
from holdfast.spec import Deployment

_START_S: Final = 60.0
_STOP_S: Final = 45.0
_POLL_S: Final = 0.05
_SAMPLE_S: Final = 0.5
"""Between two readings of the memory of all processes, some milliseconds each."""
_QUIET_SHARE: Final = 0.2
"""Of a core: a service that uses less has finished starting."""
_QUIET_S: Final = 10.0


class RunningService:
    """A started service: where it is, what it uses, and the memory it took so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.usage = Usage(process.pid)
        self.url = ""
        self._output = output
        self._samples: list[Resident] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of the service", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        if hasattr(os, "SCHED_IDLE"):
            with contextlib.suppress(OSError):  # the load is to be sent on time; this can wait
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while not self._stop.wait(_SAMPLE_S):
            used = self.usage.memory()
            if used is not None:
                self._samples.append(used)

    def peak(self) -> Peak | None:
        """Of the memory of all its processes since it began; None where the system does not tell."""
        return peak_of(list(self._samples))

    def tail(self, lines: int = 5) -> str:
        """The last lines that it printed."""
        text = self._output.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def kill(self) -> None:
        """End every process of it at once, as a power switch would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Drain and stop it; kill what does not stop."""
        self._stop.set()
        self._thread.join(5)
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
        self.kill()


@contextmanager
def run_service(
    deployment: Deployment, confines: Confines, environ: Mapping[str, str]
) -> Iterator[RunningService]:
    """Start `holdfast serve`, wait until it answers and is quiet, and stop it at the end.

    Raises:
        CheckError: it does not start; carries what it said.
    """
    with confines.aside():
        yield from _run_service(deployment, confines, environ)


def _run_service(
    deployment: Deployment, confines: Confines, environ: Mapping[str, str]
) -> Iterator[RunningService]:
    output = deployment.folder / "serve.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast", "serve", "-C", str(deployment.folder)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            start_new_session=True,
            preexec_fn=confines.enter(),  # noqa: PLW1509 - it calls two system functions and takes no lock
        )
    service = RunningService(process, output)
    try:
        service.url = _wait_for_url(service, deployment)
        _wait_for_quiet(service)
        yield service
    finally:
        service.close()


def _wait_for_url(service: RunningService, deployment: Deployment) -> str:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and service.process.poll() is None:
        if f"{deployment.name} at " in service.tail():
            with contextlib.suppress(UnreachableError):
                return running_service(deployment)
        time.sleep(_POLL_S)
    raise CheckError(
        "the service does not start",
        where="holdfast serve",
        received=service.tail() or "nothing said",
        next_step="Start it by hand with `holdfast serve` and follow what it says.",
    )


def _wait_for_quiet(service: RunningService) -> None:
    """Until what runs beside the workers has finished loading, or some seconds have gone."""
    deadline_s = time.monotonic() + _QUIET_S
    step_s = 0.5
    before = service.usage.cpu_s()
    while time.monotonic() < deadline_s:
        time.sleep(step_s)
        now = service.usage.cpu_s()
        if now - before < _QUIET_SHARE * step_s:
            return
        before = now
