"""A deployment to register models in, and rows of cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import parquet

from holdfast.clock import ManualClock
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment


class Place:
    """A deployment with its registry."""

    def __init__(self, folder: Path, toml: str = "") -> None:
        (folder / "holdfast.toml").write_text('[model]\nname = "cards"\n' + toml)
        self.deployment = Deployment.open(folder, {})
        self.registry = Registry.open(self.deployment.registry_url, ManualClock(start_us=11))

    def register(self, source: object, **options: Any) -> Any:
        return register_model(
            self.deployment, self.registry, source, clock=ManualClock(start_us=11), actor="ann", **options
        )

    def folder(self, version: Any) -> Path:
        return self.deployment.artifacts_folder / str(version.artifact_folder)

    def reference(self, version: Any) -> Any:
        return parquet.read_table(self.deployment.references_folder / version.version / "reference.parquet")


def frame(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"amount": rng.lognormal(size=rows), "hour": rng.integers(0, 24, rows)})
    table["fraud"] = np.where(table.amount + rng.normal(size=rows) > 1.5, "yes", "no")
    table["at"] = pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC")
    return table
