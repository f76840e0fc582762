"""Wrote `tests/golden/log-v1` with the first version of the log format. Do not run it again for that folder.

A golden log is never rewritten: it stands for logs that exist elsewhere. For a later format, copy this
script, write a new folder beside the old one, and keep both in `tests/prediction_log/test_log_golden.py`.

    python tests/golden/write_log_v1.py FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, SpoolWriter
from holdfast.prediction_log.segments import list_segments, spool_folder
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.spec.checklist import Privacy

START_US = 1_790_000_000_000_000
KEY = b"golden key of the first format"


def record(ids: list[str], **changes: Any) -> PredictionRecord:
    n = len(ids)
    fields: dict[str, Any] = {
        "model_version": "1",
        "arm": "champion",
        "prediction_ids": ids,
        "times_us": np.arange(n, dtype=np.int64) + START_US,
        "latency_us": [120] * n,
        "inputs": {
            "amount": np.linspace(0.5, 9.5, n, dtype=np.float32),
            "visits": np.arange(n, dtype=np.int64) + 2**53,
            "online": np.arange(n) % 2 == 0,
            "shop": ["corner", None] * (n // 2) + ["größe"] * (n % 2),
            "thumbnail": np.arange(4 * n, dtype=np.uint8).reshape(n, 2, 2),
            "age": [41, None] * (n // 2) + [7] * (n % 2),
        },
        "context": {
            "customer": [f"c{row}" for row in range(n)],
            "agreed": [True, None] * (n // 2) + [False] * (n % 2),
        },
        "prediction": ["fraud", "fine"] * (n // 2) + ["fine"] * (n % 2),
        "probabilities": np.linspace(0, 1, 2 * n, dtype=np.float32).reshape(n, 2),
    }
    return PredictionRecord(**(fields | changes))


def main(folder: Path) -> None:
    clock = ManualClock(START_US)
    redactor = Redactor(Privacy(subject_field="customer", consent_field="agreed"), KEY)

    def writer(replica: str, **settings: Any) -> SpoolWriter:
        return SpoolWriter(folder, deployment="fraud", replica=replica, clock=clock, **settings)

    committed = writer("committed", sampling_fraction=0.5, device="press-7")
    committed.append(redactor.redact(record([f"committed-{row}" for row in range(8)])))
    committed.append_labels(
        [Label("committed-0", y=True, observed_at_us=START_US), Label("unknown", 1.0, START_US)]
    )
    committed.close()
    Keeper(folder, clock).run_once()

    clean = writer("clean", segment_bytes=600)
    clean.append(redactor.redact(record(["clean-0", "clean-1", "clean-2"])))
    clean.append(redactor.redact(record(["clean-3"], inputs={"shop": np.array([17.0])}, model_version="2")))
    clean.append_labels([Label("clean-0", "fraud", START_US + 5), Label("committed-0", None, START_US + 9)])
    clean.close()

    torn = writer("torn")
    torn.append(redactor.redact(record(["torn-0"])))
    torn.append(redactor.redact(record(["torn-1"])))
    torn._segment.close()  # type: ignore[union-attr]  # as when the process dies
    last = list_segments(spool_folder(folder))[-1].path
    last.write_bytes(last.read_bytes()[:-20])

    expected_folder = folder.with_name("expected")
    shutil.copytree(folder, expected_folder)
    Keeper(expected_folder, clock).run_once()
    log = PredictionLog(expected_folder)
    expected = {
        "rows": sorted(log.joined().read_all().to_pylist(), key=lambda row: str(row["prediction_id"])),
        "labels": sorted(
            log.labels(history=True).read_all().to_pylist(), key=lambda row: (row["replica"], row["sequence"])
        ),
    }
    shutil.rmtree(expected_folder)
    (folder / "keeper.lock").unlink()
    (folder / "expected.json").write_text(
        json.dumps(expected, default=str, indent=1, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
