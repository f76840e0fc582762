"""A challenger beside the champion: real processes, real load, and a challenger that misbehaves."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import msgspec
import pytest
import serve_process
from live_service import linear_signature
from prometheus_client.parser import text_string_to_metric_families
from serve_process import ServeProcess, Traffic, children, make_deployment, promote

from holdfast.artifact import Execution, store_artifact
from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry
from holdfast.spec import Deployment

TWO = "[compute]\ncores = 2\n"
MISBEHAVING = """
import os, time
import numpy as np

def slow(columns):
    time.sleep(0.2)
    return {"y": 7.0 * columns["x"][:, :1]}

def dying(columns):
    if columns["x"][:, 0].max() >= 50:  # of callers; the model's own examples are small
        os._exit(9)
    return {"y": 2.0 * columns["x"][:, :1]}
"""


def add_python(deployment: Deployment, function: str) -> str:
    target = f"misbehaving:{function}"
    artifact = store_artifact(
        deployment.artifacts_folder,
        runtime="python",
        model=msgspec.json.encode({"callable": target}),
        signature=linear_signature(),
        execution=Execution(python_target=target),
        warmup={"a": [1.0, 2.0], "b": [0.5, -1.0]},
    )
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        return registry.add_version(
            name="demo", sha256=artifact.sha256, created_at_us=0, created_by="test", metadata={}
        ).version


def start(deployment: Deployment, challenger: str) -> int:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        return registry.rollouts.start(
            challenger, kind="update", baseline={}, assignment_key=os.urandom(16), deadline_us=2**60,
            earliest_decision_us=0, reason="test", actor="test", checklist_hash="", report={},
        ).number  # fmt: skip


def advance(deployment: Deployment, number: int, share: float) -> None:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        registry.rollouts.advance(number, share, reason="test", actor="test")


def end(deployment: Deployment, number: int) -> None:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        registry.rollouts.end(number, "rolled back", reason="test", actor="test")


def shadow_rows(service: ServeProcess, version: str) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(service.ask("GET", "/metrics")[1])
        for sample in family.samples
        if sample.name == "holdfast_shadow_rows_total" and sample.labels["version"] == version
    }


def test_a_slow_and_a_dying_challenger_in_shadow_touch_no_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    deployment = make_deployment(tmp_path / "d", "[rollout]\nshadow_queue_mb = 0.001\n")
    slow, dying = add_python(deployment, "slow"), add_python(deployment, "dying")
    with ServeProcess(tmp_path / "d") as service, Traffic(service.port, callers=2) as traffic:
        number = start(deployment, slow)
        service.wait_for(lambda: shadow_rows(service, slow).get("answered", 0) > 2)
        service.wait_for(lambda: shadow_rows(service, slow)["dropped"] > 50)
        end(deployment, number)
        start(deployment, dying)
        service.wait_for(lambda: f"the shadow of version {dying} ended" in service.log.read_text())
        asked = traffic.answered
        service.wait_for(lambda: traffic.answered > asked + 100)
        traffic.stop()
        assert traffic.unanswered == []
        assert traffic.refused == []
        assert traffic.versions == {"1"}
        counted = shadow_rows(service, slow)
    # Each row copied was answered, failed, dropped later, or waited when its process was told to end.
    assert counted["copied"] >= counted["answered"]
    assert not [pid for pid, _ in children(service.process.pid)]


def test_a_shadow_answers_copies_under_the_ids_of_the_rows_copied(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=1) as traffic:
        start(deployment, "2")
        service.wait_for(lambda: shadow_rows(service, "2").get("answered", 0) > 50)
        traffic.stop()
        assert traffic.versions == {"1"}
    from holdfast.prediction_log import settle

    settle(deployment, clock=SystemClock())
    log = PredictionLog(deployment)
    pairs = log.query(
        "SELECT a.prediction AS champion, b.prediction AS challenger, b.model_version FROM predictions a "
        "JOIN predictions b ON a.prediction_id = b.prediction_id "
        "WHERE a.arm = 'champion' AND b.arm = 'shadow'"
    ).read_all().to_pylist()  # fmt: skip
    assert len(pairs) > 50
    assert all(row["challenger"] == row["champion"] / 2 * 5 for row in pairs)
    assert {row["model_version"] for row in pairs} == {"2"}
    assert log.verify().duplicate_id_count == 0
    assert log.count().predictions == traffic.answered


def test_a_canary_is_sticky_and_every_worker_follows_its_share_and_its_end(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, TWO + '[rollout]\nassign_by = "a"\n')
    with ServeProcess(tmp_path) as service:

        def answered_by(value: int) -> str:
            status, body = service.ask("POST", "/predict", {"a": value, "b": 0})
            assert status == 200
            assert body["prediction"] == {"1": 2.0, "2": 5.0}[body["model_version"]] * value
            version: str = body["model_version"]
            return version

        def sweep() -> list[str]:
            return [answered_by(value) for value in range(60)]

        def settled(before: list[str]) -> list[str]:
            """Both workers follow another share than before: three sweeps of new connections agree."""
            found: list[str] = []

            def agree() -> bool:
                found[:] = sweep()
                return found != before and found == sweep() == sweep()

            service.wait_for(agree, 60)
            return found

        number = start(deployment, "2")
        none = sweep()
        assert set(none) == {"1"}
        advance(deployment, number, 0.5)
        first = settled(none)
        assert 15 < first.count("2") < 45
        advance(deployment, number, 0.8)
        more = settled(first)
        assert all(later == "2" for early, later in zip(first, more, strict=True) if early == "2")
        end(deployment, number)
        assert settled(more) == none
    from holdfast.prediction_log import settle

    settle(deployment, clock=SystemClock())
    arms = PredictionLog(deployment).query(
        "SELECT DISTINCT arm, model_version FROM predictions WHERE arm <> 'shadow' ORDER BY arm"
    )
    assert [tuple(row.values()) for row in arms.read_all().to_pylist()] == [
        ("challenger", "2"),
        ("champion", "1"),
    ]


def answering(service: ServeProcess) -> str:
    version: str = service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"]
    return version


@pytest.mark.slow
def test_fifty_changes_of_the_champion_under_load_fail_and_mix_up_nothing(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=3) as traffic:
        for change in range(50):
            version = "2" if change % 2 == 0 else "1"
            promote(deployment, version)
            service.wait_for(lambda wanted=version: answering(service) == wanted)
        traffic.stop()
        assert traffic.unanswered == []
        assert traffic.refused == []
        assert traffic.not_accepted == 0
        assert traffic.versions == {"1", "2"}
        changes = service.log.read_text().count("answers")
    assert changes >= 50  # each was seen by one worker at least


def holdfast(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments, "-C", str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Labelled:
    """One caller whose every answer gets its true label, 2 a, at once."""

    def __init__(self, port: int) -> None:
        self.failures: list[object] = []
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        number = 0
        while not self._stop.is_set():
            number += 1
            name, value = f"row-{number}", float(number % 60)
            for path, body in (
                ("/predict", {"prediction_id": name, "a": value, "b": 0.0}),
                ("/labels", {"prediction_id": name, "label": 2 * value}),
            ):
                connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 200:
                    self.failures.append(answer)
            time.sleep(0.001)
        connection.close()


@pytest.mark.slow
def test_the_policy_sends_a_dying_challenger_back_and_promotes_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    command = "import sys; from holdfast.cli import main; main(['serve', '--no-monitor', '-C', sys.argv[1]])"
    monkeypatch.setattr(serve_process, "SERVE", command)
    folder = tmp_path / "d"
    toml = (
        '[monitoring]\nlabel_delay = "1s"\n[rollout]\nshadow = "1s"\nstep = "1s"\nramp = [0.3, 1.0]\n'
        'label_interval = "1s"\nloss_scale = 1000.0\nmax_flips = 1.0\nmax_volume_change = 1.0\n'
        "max_crashes = 1\nmargin = 0.05\n[speed]\np99_ms = 5000\ndeadline_ms = 20000\n"
    )
    deployment = make_deployment(folder, toml, (2.0, 2.001))
    dying = add_python(deployment, "dying")
    with (
        Registry.open(deployment.registry_url, SystemClock()) as registry,
        ServeProcess(folder) as service,
        Labelled(service.port) as caller,
    ):
        said = holdfast(folder, "rollout", "start", dying, "--waive", "a test")
        assert "Earliest decision: " in said
        service.wait_for(lambda: registry.rollouts.open() is None, 90)
        first = registry.rollouts.all()[0]
        assert first.phase == "rolled back"
        assert "process died" in first.reason
        holdfast(folder, "rollout", "start", "2", "--waive", "a test")
        service.wait_for(lambda: registry.rollouts.open() is None, 120)
        assert [one.action for one in registry.rollouts.steps(2)] == ["start", "advance", "promote"]
        service.wait_for(lambda: service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "2")
        holdfast(folder, "rollout", "rollback", "--reason", "complaints")
        began_s = time.monotonic()
        service.wait_for(lambda: service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "1")
        assert time.monotonic() - began_s < 5  # 0.2 s on a quiet machine
        assert caller.failures == []
        assert registry.audit.verify().ok
