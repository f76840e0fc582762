"""The copy that a check runs: the same service, with nothing that reaches outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_check_whole import make

from holdfast.check.scratch import scratch_copy
from holdfast.clock import SystemClock
from holdfast.registry import Registry
from holdfast.spec import Deployment

OUTSIDE = """
[target]
host = "0.0.0.0"
port = 8080
[security]
auth = "keys"
tls_certificate = "tls/service.pem"
tls_key = "tls/service.key"
[logging]
tables = "s3://predictions/fraud"
[alerts]
webhooks = ["https://hooks.example.org/fraud"]
[speed]
p99_ms = 77
"""


def test_the_copy_reaches_nobody_and_keeps_what_is_measured(tmp_path: Path) -> None:
    deployment = make(tmp_path / "sums", OUTSIDE)
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        version = registry.version("1")
        before = registry.api_keys.all()
        with scratch_copy(deployment, version, {}, clock) as scratch:
            copy = scratch.deployment
            checklist = copy.checklist
            assert checklist.target.host == "127.0.0.1"
            assert checklist.target.port == 0
            assert not checklist.logging.tables
            assert not checklist.alerts.webhooks
            assert checklist.speed.p99_ms == 77
            assert checklist.security.tls_certificate == str(deployment.folder / "tls/service.pem")
            assert copy.folder.is_relative_to(deployment.run_folder)
            assert copy.folder.stat().st_mode & 0o077 == 0
            assert scratch.key is not None
            assert scratch.key not in repr(scratch)
            assert scratch.version.sha256 == version.sha256
            assert (copy.artifacts_folder / version.artifact_folder / "manifest.json").exists()
        assert registry.api_keys.all() == before
    assert not copy.folder.exists()
    assert (deployment.artifacts_folder / version.artifact_folder / "manifest.json").exists()


def test_a_check_that_fails_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    deployment: Deployment = make(tmp_path / "sums", "")
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        version = registry.version("1")
        with pytest.raises(RuntimeError), scratch_copy(deployment, version, {}, clock):
            raise RuntimeError
    assert not list(deployment.run_folder.iterdir())
    assert (deployment.references_folder / "1" / "reference.parquet").exists()
