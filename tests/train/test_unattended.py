"""A service that is left alone: labels come, a challenger is made, and nobody had to ask for it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from shop import DAY_US, START_US, TOML, open_shop, orders

from holdfast.clock import iso_utc
from holdfast.demo.service import ServiceProcess

UNATTENDED = """triggers = ["labels"]
new_labels = 1500
unattended = true
watch_interval = "500ms"
[speed]
deadline_ms = 20000
p99_ms = 10000
"""


@pytest.mark.slow
def test_a_service_left_alone_makes_a_challenger_when_labels_have_come_and_answers_meanwhile(
    tmp_path: Path,
) -> None:
    shop = open_shop(tmp_path / "shop", TOML + UNATTENDED)
    service = ServiceProcess(shop.deployment.folder, "--no-monitor")
    with service, httpx.Client(timeout=30) as client:
        client.base_url = httpx.URL(f"http://{service.host}:{service.port}")
        for day in range(40):
            columns, truth = orders(50, seed=day, turned=True)
            times = [START_US + day * DAY_US + row * 1_000_000 for row in range(50)]
            rows = [
                {"amount": a, "country": c, "items": i, "time": iso_utc(at)}
                for a, c, i, at in zip(*columns.values(), times, strict=True)
            ]
            answered = client.post("/predict", json=rows).raise_for_status().json()
            labels = [
                {"prediction_id": one["prediction_id"], "label": y, "observed_at": iso_utc(at + DAY_US)}
                for one, y, at in zip(answered, truth, times, strict=True)
            ]
            client.post("/labels", json=labels).raise_for_status()
        deadline_s = time.monotonic() + 90
        while len(versions := shop.registry.versions()) < 2:
            client.post("/predict", json=rows[:1]).raise_for_status()
            assert time.monotonic() < deadline_s, service.log_tail()
            time.sleep(0.1)
        while "next: holdfast rollout start 2" not in service.log_tail():
            assert time.monotonic() < deadline_s, service.log_tail()
            time.sleep(0.1)
    assert [one.version for one in versions] == ["1", "2"]
    assert shop.registry.route().champion == "1"
    made = shop.registry.evidence("2", "training")[0].payload
    assert made["trigger"] == "labels: 2000 new labels have come"
    shop.close()
