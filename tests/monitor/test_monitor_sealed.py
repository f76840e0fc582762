"""Drift is found in encrypted inputs by a monitor that has the master key, and by no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.clock import ManualClock
from holdfast.monitor.log_rows import Translation
from holdfast.privacy import Sealer, SubjectStore

SIGNATURE = Signature(
    columns=(
        Column(name="a", dtype="float32", kind="numeric"),
        Column(name="b", dtype="float32", kind="numeric"),
    ),
    inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
    task="regression",
    prediction_output="y",
)


@pytest.mark.parametrize("opened", [True, False])
def test_the_monitor_sees_sealed_inputs_once_they_are_opened(tmp_path: Path, opened: bool) -> None:
    with SubjectStore(tmp_path) as store:
        sealer = Sealer(store, bytes(32), ManualClock())
        sealed = [
            sealer.seal(who, f"p{row}", {"input_a": float(row), "input_b": None})
            for row, who in enumerate(["ann", "bob", None])
        ]
        table = pa.table(
            {
                "prediction_id": ["p0", "p1", "p2"],
                "subject": ["ann", "bob", None],
                "context_sealed": sealed,
                "prediction": [0.0, 1.0, 2.0],
                "time": pa.array([0, 1, 2], pa.timestamp("us", tz="UTC")),
                "y": pa.array([None] * 3, pa.string()),
            }
        )
        rows = Translation(SIGNATURE).log(sealer.open_table(table) if opened else table)
    seen = np.asarray(rows.columns["a"], dtype=np.float64)
    assert (seen.tolist() == [0.0, 1.0, 2.0]) if opened else bool(np.isnan(seen).all())
    assert np.isnan(np.asarray(rows.columns["b"], dtype=np.float64)).all()
