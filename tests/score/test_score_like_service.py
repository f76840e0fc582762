"""A table gets the numbers that the service gives, bit for bit."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from small_deployments import deployment, outcomes, sensor_model, sensor_table, ward_model, ward_table

from holdfast.clock import SystemClock
from holdfast.demo.service import ServiceProcess
from holdfast.registry import Registry
from holdfast.score import load, score_table
from holdfast.spec import Deployment

pytestmark = pytest.mark.slow
ROWS = 150


def wards(folder: Path) -> tuple[Deployment, pa.Table]:
    reference = ward_table(400)
    labels = outcomes(reference)
    return deployment(folder, ward_model(reference, labels), reference, labels), ward_table(ROWS, seed=11)


def sensors(folder: Path) -> tuple[Deployment, pa.Table]:
    reference = sensor_table(300)
    model, labels = sensor_model(reference)
    return deployment(folder, model, reference, labels), sensor_table(ROWS, seed=12)


def ask(port: int, body: object) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/predict", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)


def bits(answers: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["prediction"], *(float(p).hex() for p in one["probabilities"].values())) for one in answers]


@pytest.mark.parametrize("make", [wards, sensors])
def test_http_and_score_and_library_agree_to_the_last_bit(make: Any, tmp_path: Path) -> None:
    one, table = make(tmp_path / "deployment")
    records = table.to_pylist()
    with ServiceProcess(one.folder, "--no-monitor") as service:
        singly = [ask(service.port, record) for record in records]
        together = ask(service.port, records)
    assert bits(singly) == bits(together)

    parquet.write_table(table, tmp_path / "in.parquet")
    csv.write_csv(table, tmp_path / "in.csv")
    classes = list(singly[0]["probabilities"])
    for source, target, block_rows in (
        ("in.parquet", "a.parquet", 8192),
        ("in.parquet", "b.parquet", 13),
        ("in.csv", "c.csv", 64),
    ):
        with Registry.open(one.registry_url, SystemClock()) as registry:
            score_table(one, registry, tmp_path / source, tmp_path / target, block_rows=block_rows)
        read = parquet.read_table if target.endswith("parquet") else csv.read_csv
        found = read(tmp_path / target)
        scored = list(
            zip(
                found["prediction"].to_pylist(),
                *([float(p).hex() for p in found[f"probability_{name}"].to_pylist()] for name in classes),
                strict=True,
            )
        )
        assert scored == bits(singly), target

    with load(one.folder) as model:
        answer = model.predict(table)
    assert answer.probabilities is not None
    assert [float(p).hex() for p in np.asarray(answer.probabilities)[:, 0]] == [
        row[1] for row in bits(singly)
    ]
