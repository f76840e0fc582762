"""However the demonstration ends, nothing of it goes on running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


def wait_until(condition: object, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demonstration_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "kept"
    script = (
        "import sys; from pathlib import Path; from holdfast.demo import run_demo; "
        "run_demo(fast=True, headless=True, folder=Path(sys.argv[1]))"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # Some predictions are in the spool: the service is up and the traffic plays.
        assert wait_until(
            lambda: (
                any((folder / "log" / "spool").rglob("*.spool*"))
                if (folder / "log" / "spool").exists()
                else False
            ),
            90,
        )
        demo.send_signal(number)
        assert demo.wait(30) != 0
        assert wait_until(lambda: not processes_of(folder), 10), processes_of(folder)
    finally:
        demo.kill()
        demo.wait()
