"""A small deployment with a diagnosis, in which every name, id and text tries to become markup."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hostile_score import CATEGORIES, NUMBER, WORD

from holdfast.clock import SystemClock, iso_utc
from holdfast.demo.service import ServiceProcess
from holdfast.monitor import Monitor
from holdfast.prediction_log import settle
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

DAY_US = 86_400_000_000
START_US = 20_500 * DAY_US
PER_DAY, REFERENCE_DAYS, LIVE_DAYS, ONSET_DAY = 120, 10, 16, 8
FIRST_ID = "</td><script>pwned(3)</script>"
CHECKLIST = """
[model]
name = "ward"
[predictions]
time_field = "at"
[logging]
commit_interval = "100ms"
[monitoring]
window = "1d"
label_delay = "1d"
lateness = "0s"
[target]
port = 0
"""
Rows = dict[str, Any]


def drawn(seed: int, days: int, shift: float = 0.0) -> tuple[Rows, np.ndarray]:
    """Columns and truths, in order of time."""
    random = np.random.default_rng([91, seed])
    count = days * PER_DAY
    shifted = np.where(np.arange(count) // PER_DAY >= ONSET_DAY, shift, 0.0)
    number = random.normal(size=count) + shifted
    word = random.choice(CATEGORIES, count, p=[0.5, 0.3, 0.2])
    chance = 1 / (1 + np.exp(-1.5 * number * np.where(shifted > 0, -1, 1) - (word == CATEGORIES[0])))
    truth = (random.random(count) < chance).astype(np.int64)
    return {NUMBER: number, WORD: word}, truth


def make_ward(folder: Path, extra: str = "") -> Deployment:
    """Two versions registered, the first of them the champion."""
    folder.mkdir(parents=True, exist_ok=True)
    slices = f"slices = [{json.dumps(WORD)}]\n"
    (folder / "holdfast.toml").write_text(CHECKLIST.replace("[target]\n", slices + "[target]\n") + extra)
    deployment = Deployment.open(folder, {})
    columns, truth = drawn(1, REFERENCE_DAYS)
    at = pa.array(
        START_US + (np.arange(len(truth)) // PER_DAY - REFERENCE_DAYS) * DAY_US, pa.timestamp("us", "UTC")
    )
    table = pa.table({**columns, "y": truth, "at": at})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        for target in ("hostile_score:first", "hostile_score:second"):
            register_model(
                deployment,
                registry,
                target,
                reference=table,
                labels="y",
                time="at",
                trust_python=True,
                clock=SystemClock(),
            )
    return deployment


def play(deployment: Deployment, service: ServiceProcess, headers: dict[str, str] | None = None) -> None:
    """Days of predictions with their labels, all but the last day's; then judge them."""
    columns, truth = drawn(2, LIVE_DAYS, shift=1.2)
    count = len(truth)
    ids = [FIRST_ID if row == 0 else f"p{row:05d}" for row in range(count)]
    records = [
        {
            "prediction_id": ids[row],
            "at": iso_utc(START_US + row * (DAY_US // PER_DAY)),
            NUMBER: float(columns[NUMBER][row]),
            WORD: str(columns[WORD][row]),
        }
        for row in range(count)
    ]
    post(service, "/predict", records, headers)
    known = count - PER_DAY
    post(
        service,
        "/labels",
        [
            {"prediction_id": ids[row], "label": int(truth[row]), "observed_at": records[row]["at"]}
            for row in range(known)
        ],
        headers,
    )
    judge(deployment)


def judge(deployment: Deployment) -> None:
    """What `holdfast monitor --options` does."""
    clock = SystemClock()
    settle(deployment, clock)
    with Registry.open(deployment.registry_url, clock) as registry:
        Monitor(deployment, registry, clock, options=True).run_once()


def post(service: ServiceProcess, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    """One request that must succeed."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    try:
        connection.request(
            "POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})}
        )
        response = connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        return json.loads(text)
    finally:
        connection.close()
