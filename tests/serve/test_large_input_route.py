"""An image that comes over HTTP is logged beside the tables, once, and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_service import GraphRuntime, Start, starting

from holdfast.artifact import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import LoadedModel
from holdfast.prediction_log import PredictionLog, settle

start = starting

CAMERA = Signature(
    columns=(Column(name="photo", dtype="float32", kind="image", shape=(3, 40, 40)),),
    inputs=(Tensor(name="photo", dtype="float32", shape=(-1, 3, 40, 40), columns=("photo",)),),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
    task="regression",
    prediction_output="y",
)
GRAPH = """
    <ir_version: 9, opset_import: ["": 18]>
    camera (float[N,3,40,40] photo) => (float[N,1] y)
    <int64[3] over = {1, 2, 3}, int64[2] shape = {-1, 1}>
    { mean = ReduceMean<keepdims = 0>(photo, over)
      y = Reshape(mean, shape) }
"""


def test_a_photo_over_http_is_a_file_and_a_row_and_two_counts(start: Start, tmp_path: Path) -> None:
    server = start(LoadedModel("1", CAMERA, GraphRuntime(GRAPH)))
    photo = np.linspace(0, 1, 3 * 40 * 40, dtype=np.float32).reshape(3, 40, 40)
    for _ in range(2):
        status, answer, _ = server.ask("POST", "/predict", {"photo": photo.tolist()})
        assert status == 200
    _, text, _ = server.ask("GET", "/metrics")
    assert b'holdfast_large_inputs_total{model="demo",outcome="stored"} 1.0' in text
    assert b'holdfast_large_inputs_total{model="demo",outcome="repeated"} 1.0' in text
    settle(tmp_path / "log", SystemClock())
    log = PredictionLog(tmp_path / "log")
    first, second = log.predictions().read_all().to_pylist()
    assert first["large_photo"] == second["large_photo"]
    np.testing.assert_array_equal(log.large_input(first["large_photo"]), photo)
    assert first["feature_photo_aspect"] == 1.0
    assert answer["prediction"] == pytest.approx(0.5, abs=1e-5)
