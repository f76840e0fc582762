"""Wrote `tests/golden/log-large-v1` with the first format of large inputs. Not to be run again for it.

A golden log is never rewritten: it stands for logs that exist elsewhere. For a later format, copy this
script, write a new folder beside the old one, and keep both in `tests/prediction_log/test_log_golden.py`.

    python tests/golden/write_log_large_v1.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, SpoolWriter
from holdfast.privacy import PredictionRecord, Redactor, Sealer, SubjectStore
from holdfast.spec.checklist import Privacy

START_US = 1_790_000_000_000_000
KEY = b"golden key of large inputs"
MASTER_KEY = bytes(range(32))


def record(prefix: str) -> PredictionRecord:
    photos = np.arange(3 * 2 * 3 * 4, dtype=np.uint8).reshape(3, 2, 3, 4)
    photos[2] = photos[0]
    fields: dict[str, Any] = {
        "model_version": "1",
        "arm": "champion",
        "prediction_ids": [f"{prefix}-{row}" for row in range(3)],
        "times_us": [START_US] * 3,
        "latency_us": [120] * 3,
        "inputs": {},
        "context": {"customer": ["ann", "bob", "bob"]},
        "prediction": [1, 0, 1],
        "large": {"photo": photos, "sound": np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)},
        "features": {"photo": {"brightness": [0.25, 0.5, 0.25]}},
    }
    return PredictionRecord(**fields)


def main(folder: Path) -> None:
    clock = ManualClock(START_US)
    log_folder = folder / "log"
    log_folder.mkdir(parents=True)
    with SubjectStore(folder) as store:
        sealer = Sealer(store, MASTER_KEY, clock)
        plain = Privacy(subject_field="customer")
        sealed = Privacy(subject_field="customer", field_actions={"photo": "encrypt"})
        for name, privacy in (("plain", plain), ("sealed", sealed)):
            writer = SpoolWriter(log_folder, deployment="camera", replica=name, clock=clock)
            writer.append(Redactor(privacy, KEY, sealer).redact(record(name)))
            writer.close()
            if name == "plain":
                Keeper(log_folder, clock).run_once()
    for path in (log_folder / "keeper.lock", log_folder / "large_inputs" / ".lock"):
        path.unlink()
    shutil.rmtree(log_folder / "erasures", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
