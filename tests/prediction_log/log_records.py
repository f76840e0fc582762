"""Small records and labels for the tests of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.clock import Clock, ManualClock
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import PredictionRecord, RedactedRecord, Redactor
from holdfast.spec.checklist import Privacy

T0_US = 1_780_000_000_000_000
"""2026-05-28, in the past of every test."""

_KEEP_ALL = Redactor(Privacy(), None)


def redacted(
    ids: Sequence[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    redactor: Redactor = _KEEP_ALL,
    **changes: Any,
) -> RedactedRecord:
    n = len(ids)
    fields: dict[str, Any] = {
        "model_version": "1",
        "arm": "champion",
        "prediction_ids": ids,
        "times_us": [T0_US + row for row in range(n)],
        "latency_us": [250] * n,
        "inputs": {"amount": np.arange(n, dtype=np.float32), "shop": ["corner"] * n}
        if inputs is None
        else inputs,
        "context": {},
        "prediction": [0] * n,
    }
    return redactor.redact(PredictionRecord(**(fields | changes)))


def ids_of(prefix: str, n: int, start: int = 0) -> list[str]:
    return [f"{prefix}-{row:05d}" for row in range(start, start + n)]


def new_writer(log_folder: Path, clock: Clock | None = None, **settings: Any) -> SpoolWriter:
    return SpoolWriter(
        log_folder,
        deployment="fraud",
        replica=settings.pop("replica", "worker-0"),
        clock=clock or ManualClock(T0_US),
        **settings,
    )
