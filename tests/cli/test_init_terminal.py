"""`holdfast init` in a terminal, as a person answers it, and for the situations it is made for."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from holdfast.cli import main
from holdfast.spec import Deployment, questions

SITUATIONS: Final = {
    "speech": ("target.where=edge", "speed.deadline_ms=500", "speed.p99_ms=300", "speed.qps=2"),
    "card-fraud": ("speed.p99_ms=50", "speed.qps=1000", "compute.cores=4", "monitoring.label_delay=14d"),
    "house-prices": ("monitoring.window=7d", "monitoring.label_delay=90d", "logging.retention_days=730"),
    "inspection": ("target.where=edge", "speed.qps=5", "monitoring.label_delay=8h"),
    "patient-records": ("predictions.mode=batch", "privacy.sensitivity=high", "security.auth=keys"),
}


def in_terminal(command: list[str], typed: str, limit_s: float = 30.0) -> str:
    """What a program shows on a terminal of its own, to which all of this was typed."""
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    os.write(master, typed.encode())
    shown = b""
    deadline_s = time.monotonic() + limit_s
    try:
        while time.monotonic() < deadline_s:
            if not select.select([master], [], [], 0.5)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                piece = os.read(master, 65536)
            except OSError:  # the program has closed its end
                break
            if not piece:
                break
            shown += piece
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return shown.decode(errors="replace")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
def test_answers_are_asked_again_until_they_are_valid_and_fights_are_named(tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    with model.open("wb") as file:
        file.truncate(400_000_000)
    given = {"model.name": "shop", "target.where": "moon\nbrowser", "compute.cores": "2"}
    typed = "".join(
        f"{given.get(one.path, '')}\n" for one in questions() if one.applies({"predictions.mode": "realtime"})
    )
    command = [sys.executable, "-P", "-m", "holdfast", "init", str(tmp_path / "shop"), "--model", str(model)]
    shown = in_terminal(command, typed)
    assert 'unknown choice; expected one of "cloud", "edge", "browser"; received "moon"' in shown
    # The proposal follows the two cores: 450 MB, and for each worker 100 and three times the model.
    assert "2 worker(s) with a model of 400 MB" in shown
    assert "answer [3072]" in shown
    assert "fight each other" in shown
    assert "A page would load 400 MB" in shown
    checklist = Deployment.open(tmp_path / "shop", {}).checklist
    assert checklist.model.name == "shop"
    assert checklist.target.where == "browser"
    assert checklist.compute.memory_mb == 3072


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
def test_sensitive_data_get_keys_and_raw_inputs_are_refused_for_them_on_the_spot(tmp_path: Path) -> None:
    given = {"privacy.sensitivity": "high", "privacy.actions": "plain=keep\nplain=drop"}
    typed = "".join(
        f"{given.get(one.path, '')}\n" for one in questions() if one.applies({"predictions.mode": "realtime"})
    )
    shown = in_terminal([sys.executable, "-P", "-m", "holdfast", "init", str(tmp_path / "ward")], typed)
    assert 'weaker than what sensitivity = "high" asks for' in shown
    assert 'security.auth = keys: sensitivity = "high" asks for it' in shown
    checklist = Deployment.open(tmp_path / "ward", {}).checklist
    assert checklist.security.auth == "keys"
    assert checklist.privacy.actions == {"plain": "drop"}


def test_a_callable_is_known_by_its_file_and_fights_a_rate_that_it_cannot_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.py"
    model.write_text("def predict(rows): ...\n")
    command = ["init", str(tmp_path / "shop"), "--yes", "--model", str(model), "--json"]
    with pytest.raises(SystemExit):
        main([*command, "--set", "speed.qps=3000"])
    (conflict,) = json.loads(capsys.readouterr().out)["conflicts"]
    assert "A Python callable answers some hundred single rows per second" in conflict


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_gets_a_checklist_whose_answers_do_not_fight(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [text for setting in SITUATIONS[name] for text in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        main(["init", str(tmp_path / name), "--yes", "--json", *settings])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["conflicts"] == []
    assert Deployment.open(tmp_path / name, {}).name == name
