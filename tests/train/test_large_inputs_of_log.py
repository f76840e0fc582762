"""A data set from the log holds large inputs as if they had stayed in the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.clock import ManualClock
from holdfast.prediction_log import PredictionLog, SpoolWriter, large_folder, read_snapshot, settle
from holdfast.privacy import PredictionRecord, Redactor, Sealer, SubjectStore
from holdfast.spec.checklist import FieldAction, Privacy
from holdfast.train.log_source import read_log

CLOCK = ManualClock(1_780_000_000_000_000)


@pytest.mark.parametrize("action", ["keep", "encrypt"])
def test_arrays_come_back_row_by_row_and_those_that_are_gone_are_null(
    tmp_path: Path, action: FieldAction
) -> None:
    photos = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
    log_folder = tmp_path / "log"
    writer = SpoolWriter(log_folder, deployment="camera", replica="w", clock=CLOCK)
    with SubjectStore(tmp_path) as store:
        sealer = Sealer(store, bytes(32), CLOCK)
        privacy = Privacy(subject_field="who", field_actions={"photo": action})
        redactor = Redactor(privacy, b"a key of many bytes", sealer)
        for row, in_row in enumerate((False, False, True, False)):
            record = PredictionRecord(
                model_version="1",
                arm="champion",
                prediction_ids=[f"p{row}"],
                times_us=[row],
                latency_us=[1],
                inputs={"speed": [1.0], **({"photo": photos[row : row + 1]} if in_row else {})},
                context={"who": ["ann"]},
                prediction=[0],
                large={} if in_row else {"photo": photos[row : row + 1]},
            )
            writer.append(redactor.redact(record))
        writer.close()
        settle(log_folder, CLOCK)
        log = PredictionLog(log_folder)
        gone = log.query("SELECT large_photo FROM predictions WHERE prediction_id = 'p3'").read_all()
        digest = gone["large_photo"][0].as_py()
        next((large_folder(log_folder) / digest[:2]).glob(f"{digest}.*")).unlink()
        table = read_log(
            log,
            ("speed", "photo"),
            snapshot=read_snapshot(log),
            since_us=None,
            until_us=None,
            labels_known_by_us=None,
            sealer=sealer,
        )
    found = table.column("input_photo").to_pylist()
    assert [None if one is None else np.ravel(one).tolist() for one in found] == [
        *(photo.reshape(-1).tolist() for photo in photos[:3]),
        None,
    ]
    assert "large_photo" not in table.column_names
