"""How late labels come is read from the log: those that come first count once they are like the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from holdfast.clock import ManualClock
from holdfast.monitor import Diagnosis, Monitor
from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.label_arrivals import NEVER, Arrivals, LabelSpeed, label_speed
from holdfast.monitor.rows import Rows
from holdfast.prediction_log import Keeper, Label, SpoolWriter
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

DAY_US = 86_400_000_000
START_US = 20_500 * DAY_US
ROWS = 400
"""Of a day, which is a window."""


def drawn(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and the truth that they are the chance of; a sixth is positive."""
    random = np.random.default_rng([17, seed])
    score = 1 / (1 + np.exp(2.2 - 1.5 * random.normal(size=rows)))
    return score, (random.random(rows) < score).astype(float)


def delays(kind: str, truth: np.ndarray, score: np.ndarray, seed: int) -> np.ndarray:
    """In days."""
    random = np.random.default_rng([18, seed])
    waiting, part = random.exponential(size=len(truth)), random.random(len(truth))
    return {
        "positives first": np.where(truth == 1, part, 14.0),
        "positives last": np.where(truth == 1, 20 * part, 0.1),
        "alike": 5 * waiting,
        "high scores first": 1 + 6 * (1 - score) + part,
        "some at once": np.where((truth == 1) | (part < 0.1), part, 14.0),
        "positives alone": np.where(truth == 1, part, np.inf),
    }[kind]


def speed(kind: str, days: int, declared: float, seed: int = 1, changed_on: int | None = None) -> LabelSpeed:
    """Of a log of so many days."""
    score, truth = drawn(0, 8000)
    concept = ConceptModel.fit("binary", Rows({"s": score}, score=score, truth=truth), {}, second_view=False)
    assert concept is not None
    score, truth = drawn(seed, days * ROWS)
    window = np.arange(days * ROWS) // ROWS
    if changed_on is not None:
        truth = np.where(window >= changed_on, 1 - truth, truth)
    # Within a day rows come one after the other; ages and delays count from the end of their day.
    delay = delays(kind, truth, score, seed) - 1 + np.arange(days * ROWS) % ROWS / ROWS
    age = (days - 1 - window).astype(float)
    came = delay <= age
    rows = Arrivals(
        window,
        age * DAY_US,
        np.where(came, np.maximum(delay, 0.0), np.nan) * DAY_US,
        score,
        np.where(came, truth, np.nan),
    )
    return label_speed(concept, rows, 0.05, declared * DAY_US)


@pytest.mark.parametrize(
    ("kind", "days", "shortest", "longest"),
    [
        ("positives first", 45, 13, 14),
        ("positives last", 60, 12, 20),
        ("alike", 60, 0, 0),
        ("high scores first", 45, 0, 6.5),
    ],
)
def test_early_labels_count_from_the_age_at_which_they_are_like_all(
    kind: str, days: int, shortest: float, longest: float
) -> None:
    found = speed(kind, days, declared=2)
    assert shortest <= found.fair_from_us / DAY_US <= longest


def test_while_labels_keep_coming_that_are_unlike_the_first_no_window_counts() -> None:
    assert speed("positives last", 8, declared=2).fair_from_us == NEVER


def test_labels_that_come_as_declared_hold_no_window_back() -> None:
    for days in (20, 30, 45):
        assert speed("positives first", days, declared=15).fair_from_us <= 14 * DAY_US


def test_a_change_of_the_mapping_is_no_difference_between_early_and_late_labels() -> None:
    for days in (30, 40, 60):
        assert speed("alike", days, declared=8, changed_on=25).fair_from_us <= 8 * DAY_US


def test_labels_of_one_class_alone_are_no_sample() -> None:
    assert speed("positives alone", 20, declared=2) == LabelSpeed(NEVER, one_class=True)


CHECKLIST = """
[model]
name = "ward"

[predictions]
time_field = "at"

[monitoring]
window = "1d"
label_delay = "2d"
lateness = "0s"
"""


@dataclasses.dataclass
class Ward:
    """A deployment whose labels come late."""

    deployment: Deployment
    registry: Registry
    clock: ManualClock
    model: LogisticRegression
    waiting: list[Label] = dataclasses.field(default_factory=list)

    def log(self, days: range, delayed: str) -> None:
        """Days of predictions, and the labels that have come by the end of the last."""
        score, truth = drawn(100 + days.start, len(days) * ROWS)
        x = np.log(score / (1 - score))[:, None]
        times = START_US + days.start * DAY_US + np.arange(len(x)) * (DAY_US // ROWS)
        ids = [f"d{days.start}-{row:05d}" for row in range(len(x))]
        observed = times + delays(delayed, truth, score, days.start) * DAY_US
        chances = self.model.predict_proba(x)
        writer = SpoolWriter(
            self.deployment.log_folder, deployment="ward", replica="worker-0", clock=self.clock
        )
        record = PredictionRecord(
            model_version="1",
            arm="champion",
            prediction_ids=ids,
            times_us=times.tolist(),
            latency_us=[100] * len(x),
            inputs={"x": x[:, 0]},
            context={},
            prediction=(chances[:, 1] > 0.5).astype(np.int64),
            probabilities=chances,
        )
        writer.append(Redactor(self.deployment.checklist.privacy, None).redact(record))
        self.waiting += [Label(one, int(y), int(at)) for one, y, at in zip(ids, truth, observed, strict=True)]
        now = START_US + days.stop * DAY_US
        writer.append_labels([label for label in self.waiting if label.observed_at_us <= now])
        self.waiting = [label for label in self.waiting if label.observed_at_us > now]
        writer.close()
        Keeper(self.deployment.log_folder, clock=self.clock).run_once()

    def judge(self) -> Diagnosis:
        return Monitor(self.deployment, self.registry, self.clock, explain=False).run_once()


def test_a_service_waits_for_labels_that_come_later_than_declared_and_opens_stored_windows(
    tmp_path: Path,
) -> None:
    (tmp_path / "holdfast.toml").write_text(CHECKLIST)
    deployment, clock = Deployment.open(tmp_path, {}), ManualClock(START_US)
    score, truth = drawn(1, 20 * ROWS)
    x = np.log(score / (1 - score))
    at = START_US + (np.arange(len(x)) // ROWS - 20) * DAY_US
    reference = pa.table({"x": x, "y": truth.astype(int), "at": pa.array(at, pa.timestamp("us", "UTC"))})
    with Registry.open(deployment.registry_url, clock) as registry:
        ward = Ward(deployment, registry, clock, LogisticRegression().fit(x[:, None], truth.astype(int)))
        register_model(
            deployment, registry, ward.model, reference=reference, labels="y", time="at",
            promote=True, clock=clock,
        )  # fmt: skip
        ward.log(range(10), "some at once")
        ward.judge()
        # Nobody can know yet that nine in ten of the negatives are missing.
        assert len(list(deployment.monitor_folder.rglob("*.profile"))) > 0
        ward.log(range(10, 25), "some at once")
        ward.log(range(25, 40), "some at once")
        found = ward.judge()
        assert found.kinds == ()
        assert [window.log_e_concept is not None for window in found.windows] == [True] * 26 + [False] * 13
        assert found.windows[0].labelled == ROWS
        assert any("Set [monitoring] label_delay to 14d or more" in note for note in found.notes)
