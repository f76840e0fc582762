"""A shop's deployment in which the truth turns around, for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from holdfast.clock import SystemClock
from holdfast.prediction_log import Label, SpoolWriter, settle
from holdfast.privacy import PredictionRecord, open_redactor
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment
from holdfast.train import Asked, Secrets, TrainReport, train_challenger

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000 // DAY_US * DAY_US
KEY = b"a pseudonym key of many bytes"
TOML = """
[model]
name = "shop"
[predictions]
time_field = "time"
[monitoring]
label_delay = "2d"
[training]
dev = "5d"
test = "5d"
min_rows = 200
"""


def orders(rows: int, seed: int, *, turned: bool = False) -> tuple[dict[str, list[Any]], list[int]]:
    """Amount, country (may be missing) and items, and whether the order was sent back."""
    random = np.random.default_rng(seed)
    amount = random.normal(50, 10, rows)
    country: list[str | None] = random.choice(["NL", "DE", "FR"], rows).tolist()
    items = random.integers(1, 6, rows)
    sign = -1 if turned else 1
    odds = sign * (amount - 50) / 5 + np.array([one == "NL" for one in country]) + (items - 3) / 2
    truth = random.random(rows) < 1 / (1 + np.exp(-odds))
    for row in np.flatnonzero(random.random(rows) < 0.03):
        country[row] = None
    columns = {"amount": amount.tolist(), "country": country, "items": items.tolist()}
    return columns, truth.astype(int).tolist()


def as_table(columns: dict[str, list[Any]]) -> pa.Table:
    return pa.table(columns)


@cache
def first_model() -> Any:
    """What the team had trained before; nobody changes it."""
    columns, truth = orders(3000, seed=1)
    frame = as_table(columns).to_pandas()
    encoder = OneHotEncoder(handle_unknown="ignore")
    steps = ColumnTransformer(
        [("numbers", "passthrough", ["amount", "items"]), ("texts", encoder, ["country"])]
    )
    return Pipeline([("columns", steps), ("model", LogisticRegression(max_iter=2000))]).fit(frame, truth)


class ShopClock(SystemClock):
    """Wall time stands still; deadlines are real."""

    def __init__(self, wall_us: int) -> None:
        self.wall_us = wall_us

    def now_us(self) -> int:
        return self.wall_us


@dataclass
class Shop:
    """The deployment, with a clock of its own."""

    deployment: Deployment
    registry: Registry
    clock: ShopClock
    redactor: Any
    secrets: Secrets = field(default_factory=Secrets)
    environ: dict[str, str] = field(default_factory=dict)
    model: Any = None

    def days(
        self,
        first: int,
        count: int,
        per_day: int = 200,
        *,
        turned: bool = False,
        label_after_us: int = DAY_US,
        score: bool = False,
        context: dict[str, list[Any]] | None = None,
    ) -> None:
        """Predictions of some days with their labels, in the log's tables."""
        writer = SpoolWriter(
            self.deployment.log_folder, deployment="shop", replica=f"days-{first}", clock=self.clock
        )
        for day in range(first, first + count):
            columns, truth = orders(per_day, seed=100 + day, turned=turned)
            times = [START_US + day * DAY_US + row * DAY_US // per_day for row in range(per_day)]
            ids = tuple(f"order-{day:02d}-{row:03d}" for row in range(per_day))
            record = PredictionRecord(
                model_version="1",
                arm="champion",
                prediction_ids=ids,
                times_us=times,
                latency_us=[1] * per_day,
                inputs=columns,
                context={name: values[:per_day] for name, values in (context or {}).items()},
                prediction=[0] * per_day,
                score=self.scores(columns) if score else None,
            )
            writer.append(self.redactor.redact(record))
            writer.append_labels(
                [Label(*each) for each in zip(ids, truth, [at + label_after_us for at in times], strict=True)]
            )
        writer.close()
        settle(self.deployment, self.clock)
        self.clock = ShopClock(START_US + (first + count) * DAY_US)

    def close(self) -> None:
        """Nothing is asked any more."""
        self.redactor.close()
        self.registry.close()

    def scores(self, columns: dict[str, list[Any]]) -> list[float]:
        """What the team's first model says."""
        if self.model is None:
            self.model = first_model()
        found: list[float] = self.model.predict_proba(as_table(columns).to_pandas())[:, 1].tolist()
        return found

    def train(self, asked: Asked | None = None) -> TrainReport:
        return train_challenger(
            self.deployment,
            self.registry,
            asked or Asked(),
            clock=self.clock,
            secrets=self.secrets,
            environ=self.environ,
            actor="ann",
        )

    def reopen(self, toml: str) -> None:
        """Another checklist for the same folder."""
        (self.deployment.folder / "holdfast.toml").write_text(toml)
        self.deployment = Deployment.open(self.deployment.folder, {})


def open_shop(folder: Path, toml: str = TOML, *, champion: bool = True) -> Shop:
    """A new shop, with the team's first model."""
    import os

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text(toml)
    deployment = Deployment.open(folder, {})
    clock = ShopClock(START_US)
    registry = Registry.open(deployment.registry_url, clock)
    if champion:
        columns, truth = orders(1000, seed=2)
        reference = as_table(columns).append_column("sent_back", pa.array(truth))
        register_model(
            deployment, registry, first_model(), reference=reference, labels="sent_back", clock=clock
        )
    secrets = {"HOLDFAST_PSEUDONYM_KEY": KEY.decode(), "HOLDFAST_MASTER_KEY": "ab" * 32}
    redactor = open_redactor(deployment.checklist.privacy, folder, secrets, clock)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return Shop(deployment, registry, clock, redactor, environ=environ)
