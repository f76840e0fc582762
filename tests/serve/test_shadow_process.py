"""The challenger's own process as the supervisor sees it: nobody waits for one that does not want to end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.serve.challenger import STOP_S, ShadowProcess
from holdfast.serve.control import Challenger
from holdfast.spec import Deployment

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)


def test_a_challenger_that_ignores_its_end_holds_up_nobody_and_is_killed_before_the_next_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "demo"\n')
    deployment = Deployment.open(tmp_path, {})
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*_: object, **__: object) -> subprocess.Popen[bytes]:
        process = popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", start)
    shadow = ShadowProcess()
    first, second = (Challenger(one, "", 1, canary=False, share=0.0, key=b"") for one in ("2", "3"))
    now_s = time.monotonic()
    try:
        shadow.follow(deployment, first)
        assert shadow.tend(now_s) is None
        shadow.follow(deployment, second)  # returns at once
        assert shadow.tend(now_s) is None
        assert (len(started), started[0].poll()) == (1, None)
        assert shadow.tend(now_s + 2 * STOP_S) is None
        assert started[0].poll() is not None
        assert len(started) == 2
        shadow.follow(deployment, None)
        assert shadow.tend(time.monotonic()) is None
        assert started[1].poll() is None
        assert shadow.tend(now_s + 4 * STOP_S) is None
        assert started[1].poll() is not None
        assert shadow.process is None
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        shadow.close()
