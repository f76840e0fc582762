"""`holdfast loadtest` against `holdfast serve`, as its user meets both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from holdfast.cli import main
from holdfast.clock import SystemClock
from holdfast.loadtest import log_times, running_service
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

SHORT = ("--seconds", "0.6", "--warmup", "0.2", "--json")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("loaded") / "sums"
    folder.mkdir()
    (folder / "holdfast.toml").write_text(
        '[model]\nname = "sums"\n[target]\nport = 0\n[speed]\np99_ms = 300\nqps = 40\n'
    )
    found = Deployment.open(folder, {})
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=300), "b": rng.normal(size=300)})
    with Registry.open(found.registry_url, SystemClock()) as registry:
        register_model(
            found, registry, "slow_model:answer", reference=table, clock=SystemClock(), trust_python=True
        )
    command = [sys.executable, "-P", "-m", "holdfast", "serve", "-C", str(folder), "--no-monitor"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        assert b"sums at " in process.stdout.readline()
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=60)


def load(
    deployment: Deployment,
    capsys: pytest.CaptureFixture[str],
    *options: str,
    tries: int = 4,
    prepare: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """What the command prints; again where this machine was too busy to send on time, as it says."""
    for number in range(tries):
        prepare(number)
        with pytest.raises(SystemExit) as ended:
            main(["loadtest", "-C", str(deployment.folder), *SHORT, *options])
        printed = capsys.readouterr()
        if ended.value.code == 0:
            answer: dict[str, Any] = json.loads(printed.out)
            return answer
        assert "bottleneck" in printed.err
        assert not printed.out
        time.sleep(2**number)  # until whoever keeps it busy is through
    return pytest.skip("this machine is too busy to send on time")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["json", "binary", "predict"])
def test_every_protocol_gives_the_answers_of_the_reference_run(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    found = load(deployment, capsys, "--protocol", protocol)
    assert found["protocol"] == protocol
    assert found["answered"] == found["requests"] > 5
    assert found["checked"] > 5
    assert found["wrong"] == 0


@pytest.mark.slow
def test_a_replay_asks_in_the_sizes_and_at_the_pace_of_the_log(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    url = running_service(deployment) + "/predict"

    def ask(number: int) -> None:
        size = 3 + number  # what a try before has sent is in the log too
        rows = json.dumps([{"a": 0.5, "b": 0.25}] * size).encode()
        for _ in range(12):
            asked = urllib.request.Request(url, rows, {"content-type": "application/json"})
            urllib.request.urlopen(asked).read()
            time.sleep(0.1)
        deadline_s = time.monotonic() + 60
        of_request: list[int] = []
        while of_request[-12:] != [size] * 12:
            assert time.monotonic() < deadline_s
            time.sleep(0.3)
            of_request = np.unique(log_times(deployment), return_counts=True)[1].tolist()

    found = load(deployment, capsys, "--arrivals", "replay", prepare=ask)
    # Ten requests came in a second; what it took to answer them slowed them down.
    assert 2 < found["rate_per_s"] <= 12
    assert found["arrivals"] == "replay"
    assert found["answered"] == found["requests"] > 0
    assert found["wrong"] == 0


@pytest.mark.slow
def test_the_search_finds_and_confirms_a_rate_and_draws_its_curve(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "curve.svg"
    found = load(deployment, capsys, "--search", "--rate", "100", "--curve", str(picture))
    assert found["rate_per_s"] is not None
    assert found["confirmations"] == 3
    rates = [probe["rate_per_s"] for probe in found["probes"]]
    assert rates == sorted(rates)
    assert rates.count(found["rate_per_s"]) >= 3
    assert found["stopped_by"]
    assert picture.stat().st_size > 2000
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        (kept,) = registry.evidence("1", "load curve")
    assert kept.payload["rate_per_s"] == found["rate_per_s"]
    assert len(kept.payload["points"]) > 3
