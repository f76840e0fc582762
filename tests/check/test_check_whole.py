"""A whole check: the real service, held to its compute, under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pyarrow as pa
import pytest
from msgspec import structs

from holdfast.check import CheckReport, Effort, check_deployment
from holdfast.clock import SystemClock
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

QUICK = Effort(seconds=1.5, warmup_s=0.3)
GRAPH = """
    <ir_version: 9, opset_import: ["": 18]>
    linear (float[N,2] x) => (float[N,1] y)
    <float[2,1] w = {2.0, 3.0}>
    { y = MatMul(x, w) }
"""


def make(folder: Path, toml: str) -> Deployment:
    folder.mkdir()
    (folder / "holdfast.toml").write_text(f'[model]\nname = "sums"\n{toml}')
    deployment = Deployment.open(folder, {})
    rng = np.random.default_rng(0)
    reference = pa.table({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        model = onnx.parser.parse_model(GRAPH)
        register_model(deployment, registry, model, reference=reference, clock=clock)
    return deployment


def check(deployment: Deployment, reuse_us: int = 0) -> CheckReport:
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        return check_deployment(deployment, registry, clock, os.environ, effort=QUICK, reuse_us=reuse_us)


@pytest.mark.slow
def test_an_impossible_checklist_fails_with_the_nearest_possible_and_a_relaxed_one_passes(
    tmp_path: Path,
) -> None:
    deployment = make(tmp_path / "sums", "[speed]\np99_ms = 0.0001\nqps = 300\n[compute]\nmemory_mb = 64\n")
    failed = check(deployment)
    assert failed.verdict == "fail"
    latency, memory = failed.line("speed.p99_ms"), failed.line("compute.memory_mb")
    assert latency.verdict == "fail"
    assert latency.measured > latency.asked
    assert "nearest possible" in str(latency.advice)
    assert memory.verdict == "fail"
    assert memory.measured > 64
    assert "nearest possible: memory_mb" in str(memory.advice)

    path = deployment.folder / "holdfast.toml"
    path.write_text(
        '[model]\nname = "sums"\n[speed]\np99_ms = 5000\ndeadline_ms = 10000\nqps = 300\n'
        '[compute]\nmemory_mb = 4096\n[security]\nauth = "keys"\ntls_certificate = "service.pem"\n'
        'tls_key = "service.key"\ntls_client_ca = "clients.pem"\n'
    )
    for name in ("service", "clients"):
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                ),
                *("-days", "90", "-subj", f"/CN={name}"),
                *("-keyout", deployment.folder / f"{name}.key", "-out", deployment.folder / f"{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )
    relaxed = Deployment.open(deployment.folder, {})
    passed = check(relaxed)
    not_passed = [line for line in passed.lines if line.verdict != "pass"]
    assert not not_passed
    assert passed.verdict == "pass"
    assert passed.line("security.auth").measured == "no key: 401, a made-up key: 401"
    assert passed.line("security.tls_client_ca").measured == (
        "a certificate of the authority: answered; none: kept out; another authority's: kept out"
    )
    assert passed.last_release is not None
    assert passed.last_release.measured["speed.p99_ms"] == latency.measured
    assert passed.checklist_hash == relaxed.checklist_hash

    # Within the hour it is not measured again, and says so; a line that needs no run is answered anew.
    again = check(relaxed, reuse_us=3_600_000_000)
    assert again.verdict == "pass"
    assert again.line("speed.p99_ms") == structs.replace(passed.line("speed.p99_ms"), at=passed.at)
    assert again.line("compute.model_size_mb").at is None

    # The evidence stands in the registry, and neither the log nor the folder holds a trace of the load.
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        stored = registry.evidence("1", "check")
    assert [one.payload["verdict"] for one in stored] == ["pass", "pass", "fail"]
    line: dict[str, Any] = next(x for x in stored[1].payload["lines"] if x["line"] == "speed.p99_ms")
    assert set(line) == {"line", "asked", "measured", "interval", "verdict", "advice", "at"}
    assert json.dumps(stored[0].payload)
    assert not deployment.log_folder.exists()
    assert not list(deployment.run_folder.glob("check-*"))


@pytest.mark.slow
def test_a_check_that_is_asked_to_end_leaves_neither_its_service_nor_its_copy(tmp_path: Path) -> None:
    deployment = make(tmp_path / "sums", "[speed]\nqps = 300\n")
    command = [sys.executable, "-P", "-m", "holdfast", "check", "-C", str(deployment.folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "times a second" in line:  # the service answers
            break
    (copy,) = deployment.run_folder.glob("check-*")
    pid = json.loads((copy / "run" / "serve.json").read_text())["pid"]
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not copy.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
