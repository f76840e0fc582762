"""The monitor of a real deployment: a registered model, a written log, labels, a stored diagnosis."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from holdfast.alerts import Alerting
from holdfast.clock import ManualClock
from holdfast.monitor import Diagnosis, Monitor, MonitorError, following
from holdfast.monitor.service import DIAGNOSIS
from holdfast.prediction_log import Keeper, Label, PredictionLog, SpoolWriter
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

DAY_US = 86_400_000_000
START_US = 20_500 * DAY_US
PER_DAY, REFERENCE_DAYS = 300, 10
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


def drawn(seed: int, days: int, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([5, seed])
    x = random.normal(size=(days * PER_DAY, 2))
    truth = random.random(len(x)) < 1 / (1 + np.exp(-effect * 1.5 * x[:, 0] + 0.3 * x[:, 1]))
    return x, truth.astype(np.int64)


@dataclass
class Ward:
    """A deployment with a champion and ways to feed its log."""

    deployment: Deployment
    registry: Registry
    clock: ManualClock
    model: LogisticRegression
    days: int = 0

    def register(self, seed: int) -> str:
        x, y = drawn(seed, REFERENCE_DAYS)
        at = START_US + (np.arange(len(x)) // PER_DAY - REFERENCE_DAYS) * DAY_US
        table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": y, "at": pa.array(at, pa.timestamp("us", "UTC"))})
        version = register_model(
            self.deployment, self.registry, self.model, reference=table, labels="y", time="at",
            promote=True, clock=self.clock,
        )  # fmt: skip
        return version.version

    def log(self, days: int, *, version: str = "1", effect: float = 1.0, labels: bool = True) -> None:
        """Whole days of predictions, then their labels."""
        x, y = drawn(abs(100 + self.days), days, effect)
        start_us = START_US + self.days * DAY_US
        times = (start_us + np.arange(len(x)) * (DAY_US // PER_DAY)).tolist()
        ids = [f"d{self.days}-{row:05d}" for row in range(len(x))]
        writer = SpoolWriter(
            self.deployment.log_folder, deployment="ward", replica="worker-0", clock=self.clock
        )
        chances = self.model.predict_proba(x)
        record = PredictionRecord(
            model_version=version,
            arm="champion",
            prediction_ids=ids,
            times_us=times,
            latency_us=[100] * len(x),
            inputs={"a": x[:, 0], "b": x[:, 1]},
            context={},
            prediction=(chances[:, 1] > 0.5).astype(np.int64),
            probabilities=chances,
        )
        writer.append(Redactor(self.deployment.checklist.privacy, None).redact(record))
        if labels:
            writer.append_labels(
                [Label(one, int(truth), times[-1]) for one, truth in zip(ids, y, strict=True)]
            )
        writer.close()
        Keeper(self.deployment.log_folder, clock=self.clock).run_once()
        self.days += days

    def log_stray(self, time_us: int) -> None:
        """One more prediction with a time of its own."""
        writer = SpoolWriter(
            self.deployment.log_folder, deployment="ward", replica="worker-9", clock=self.clock
        )
        record = PredictionRecord(
            model_version="1",
            arm="champion",
            prediction_ids=["stray"],
            times_us=[time_us],
            latency_us=[100],
            inputs={"a": np.zeros(1), "b": np.zeros(1)},
            context={},
            prediction=np.ones(1, dtype=np.int64),
            probabilities=np.full((1, 2), 0.5),
        )
        writer.append(Redactor(self.deployment.checklist.privacy, None).redact(record))
        writer.close()
        Keeper(self.deployment.log_folder, clock=self.clock).run_once()

    def judge(self) -> Diagnosis:
        """By a new monitor, as after a restart."""
        return Monitor(self.deployment, self.registry, self.clock).run_once()

    def profiles(self) -> list[Path]:
        return sorted(self.deployment.monitor_folder.rglob("*.profile"))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Ward]:
    (tmp_path / "holdfast.toml").write_text(CHECKLIST)
    deployment = Deployment.open(tmp_path, {})
    clock = ManualClock(START_US)
    x, y = drawn(0, 10)
    with Registry.open(deployment.registry_url, clock) as registry:
        yield Ward(deployment, registry, clock, LogisticRegression().fit(x, y))


@pytest.fixture
def ward(bare: Ward) -> Ward:
    bare.register(seed=1)
    return bare


def test_a_quiet_log_is_healthy_and_the_diagnosis_is_stored_once(ward: Ward) -> None:
    ward.log(8)
    first, second = ward.judge(), ward.judge()
    assert first.verdict == "healthy"
    assert first.model_version == "1"
    assert first.coverage.windows == 7  # the eighth day is open
    assert first.coverage.rows == 7 * PER_DAY
    assert first.coverage.unaccounted == 0
    assert second == first
    stored = ward.registry.evidence("1", DIAGNOSIS)
    assert [one.payload for one in stored] == [json.loads(first.to_json())]


def test_a_flipped_effect_is_concept_drift_since_its_day(ward: Ward) -> None:
    ward.log(6)
    ward.log(6, effect=-1.0)
    found = ward.judge()
    assert found.kinds == ("concept drift",)
    assert found.since is not None
    assert found.since.estimate.startswith("2026-02-22")  # day 20506
    assert found.quality is not None
    assert found.quality.after is not None
    assert found.quality.after.value < 0.5


def test_profiles_of_old_windows_are_kept_and_losing_them_changes_nothing(ward: Ward) -> None:
    ward.log(6)
    ward.log(6, effect=-1.0)
    found = ward.judge()
    # Windows four days (twice the label delay) before the newest prediction are frozen.
    assert len(ward.profiles()) == 7
    again = ward.judge()
    assert again == found
    shutil.rmtree(ward.deployment.monitor_folder)
    assert ward.judge() == found


def test_a_damaged_profile_is_made_again(ward: Ward) -> None:
    ward.log(8)
    found = ward.judge()
    ward.profiles()[1].write_bytes(b"\x00 torn")
    assert ward.judge() == found
    assert len(ward.profiles()) == 3


def test_profiles_that_were_measured_in_another_way_are_made_again(ward: Ward) -> None:
    ward.log(12)
    before = ward.judge()
    whole = [path.read_bytes() for path in ward.profiles()]
    for path in ward.profiles():
        stored = msgspec.msgpack.decode(path.read_bytes())
        stored["products"] = None
        path.write_bytes(msgspec.msgpack.encode(stored))
    assert ward.judge() == before
    assert [path.read_bytes() for path in ward.profiles()] == whole


def test_the_open_day_waits_and_new_days_are_added(ward: Ward) -> None:
    ward.log(1, labels=False)
    # The last prediction of a day stands before midnight: the day is still open.
    assert ward.judge().verdict == "too early to tell"
    ward.log(5)
    assert ward.judge().coverage.windows == 5


def test_labels_that_come_late_reach_windows_that_are_not_frozen(ward: Ward) -> None:
    ward.log(5, labels=False)
    assert ward.judge().coverage.labelled == 0
    ward.log(1)
    found = ward.judge()
    assert found.coverage.windows == 5


def test_a_new_champion_starts_anew(ward: Ward) -> None:
    ward.log(6)
    ward.log(6, effect=-1.0)
    assert ward.judge().alarm
    assert ward.register(seed=2) == "2"
    assert ward.judge().verdict == "too early to tell"
    ward.log(6, version="2")
    found = ward.judge()
    assert (found.model_version, found.verdict, found.coverage.windows) == ("2", "healthy", 5)


def test_without_a_champion_there_is_nothing_to_monitor(bare: Ward) -> None:
    with pytest.raises(MonitorError, match="no champion"):
        bare.judge()


def test_following_yields_each_diagnosis_that_is_new_and_stops(ward: Ward) -> None:
    ward.log(6)
    stop = threading.Event()
    seen = []
    for diagnosis in Monitor(ward.deployment, ward.registry, ward.clock).follow(stop):
        seen.append(diagnosis.verdict)
        stop.set()
    assert seen == ["healthy"]


def test_following_outlives_a_disk_that_fails_and_says_so_once(
    ward: Ward, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.log(6)
    monkeypatch.setattr(following, "FOLLOW_INTERVAL_S", 0.0)
    looks = iter([OSError(28, "No space left on device")] * 3)
    monitor = Monitor(ward.deployment, ward.registry, ward.clock)

    def look() -> Diagnosis:
        for error in looks:
            raise error
        return monitor.run_once()

    stop = threading.Event()
    for diagnosis in following.follow(look, ward.clock, stop):
        assert diagnosis.verdict == "healthy"
        stop.set()
    said = [record.getMessage() for record in caplog.records if record.name == "holdfast.monitor"]
    assert said == ["judging failed and is tried again", "judging works again; it failed 3 times"]
    assert "No space left on device" in caplog.text


def test_a_row_from_the_future_closes_no_window(ward: Ward) -> None:
    ward.log(5)
    before = ward.judge()
    ward.log_stray(START_US + 4000 * DAY_US)
    after = ward.judge()
    assert len(after.windows) == len(before.windows) == 4
    assert after.windows[-1].rows == PER_DAY
    assert after.verdict == "data fault"
    (clock,) = (found for found in after.features if found.name == "time")
    assert "1 row dated 2037-" in clock.description


def test_the_profiles_of_a_log_read_in_pieces_are_those_of_the_whole(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.log(6)
    whole = ward.judge()
    shutil.rmtree(ward.deployment.monitor_folder)

    def in_pieces(self: PredictionLog, *arguments: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        table = joined(self, *arguments, **named).read_all()
        # Out of order of time too, as a table of many files is.
        shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
        yield from shuffled.to_batches(max_chunksize=97)

    joined = PredictionLog.joined
    monkeypatch.setattr(PredictionLog, "joined", in_pieces)
    monitor = Monitor(ward.deployment, ward.registry, ward.clock, explain=False)
    assert monitor.run_once().windows == whole.windows


def test_an_alarm_and_its_end_are_told_once_each_by_whichever_monitor_looks(ward: Ward) -> None:
    (ward.deployment.folder / "holdfast.toml").write_text(
        CHECKLIST + '[alerts]\nwebhooks = ["http://127.0.0.1:9/"]\n'
    )
    deployment = Deployment.open(ward.deployment.folder, {})

    def look() -> list[dict[str, Any]]:
        alerting = Alerting.open(deployment, ward.registry, ward.clock, {})
        Monitor(deployment, ward.registry, ward.clock, alerting=alerting).run_once()
        return [one.content for one in ward.registry.outbox.deliveries()]

    ward.log(6)
    assert look() == []
    ward.log(6, effect=-1.0)
    look()
    (told,) = look()
    assert (told["kind"], told["what"], told["severity"]) == ("alarm", ["concept drift"], "critical")
    assert told["since"].startswith("2026-02-22")
    assert "Concept drift" in told["sentence"]
    assert "Retrain on labelled rows" in told["advice"][0]
    assert "errors more" in told["cost"]
    version = ward.register(seed=2)
    assert ward.registry.route().champion == version
    newest = look()[0]
    assert (newest["kind"], newest["key"]) == ("resolved", told["key"])


def test_an_earlier_champion_that_fits_again_is_an_option_tried_on_the_log(bare: Ward) -> None:
    today = bare.model
    x, y = drawn(9, 10, effect=-1.0)
    bare.model = LogisticRegression().fit(x, y)
    assert bare.register(seed=1) == "1"
    bare.model = today
    assert bare.register(seed=2) == "2"
    bare.log(6, version="2")
    bare.log(6, version="2", effect=-1.0)
    monitor = Monitor(bare.deployment, bare.registry, bare.clock, options=True)
    found = monitor.run_once()
    by_name = {(one.action, one.detail): one for one in found.options}
    back = by_name["roll back", "to version 1"]
    assert back.sure
    # By the world: the answers are wrong where the effect is followed, and right where it has turned.
    x, y = drawn(999, 100, effect=-1.0)
    wrong_today = float(np.mean(today.predict(x) != y))
    x_old, y_old = drawn(9, 10, effect=-1.0)
    wrong_then = float(np.mean(LogisticRegression().fit(x_old, y_old).predict(x) != y))
    assert back.gain.low - 0.02 < wrong_today - wrong_then < back.gain.high + 0.02
    shutil.rmtree(bare.deployment.artifacts_folder / bare.registry.version("1").artifact_folder)
    again = Monitor(bare.deployment, bare.registry, bare.clock, options=True).run_once()
    assert "roll back" not in {one.action for one in again.options}


def test_a_column_of_your_own_is_judged_and_made_again_where_its_code_changed(bare: Ward) -> None:
    folder = bare.deployment.folder

    def written(formula: str) -> None:
        code = f"calls = []\ndef both(table):\n    calls.append(1)\n    return {formula}\n"
        (folder / "measures.py").write_text(code)

    written("table['a'].to_numpy() * table['b'].to_numpy()")
    lines = CHECKLIST.replace("[monitoring]\n", '[monitoring]\nown_columns = ["measures.py:both"]\n')
    (folder / "holdfast.toml").write_text(lines)
    bare.deployment = Deployment.open(folder, {})
    bare.register(seed=1)
    bare.log(12)
    first = bare.judge()
    assert first.verdict == "healthy"
    kept = {path.parent.name for path in bare.profiles()}
    written("table['a'].to_numpy() + table['c'].to_numpy()")
    with pytest.raises(MonitorError, match="cannot be made of the reference"):
        bare.judge()
    # The first call is that of the reference: a shift of the log that no other column shows.
    written("table['a'].to_numpy() + (3.0 if len(calls) > 1 else 0.0)")
    names = {one.name for one in bare.judge().features}
    assert names == {"both"}
    assert len({path.parent.name for path in bare.profiles()} - kept) == 1


def test_windows_of_so_many_rows_are_read_once_and_judged_as_if_all_were_read(
    bare: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_rows = CHECKLIST.replace('window = "1d"', f'window = "{PER_DAY - 7} rows"')
    (bare.deployment.folder / "holdfast.toml").write_text(by_rows)
    ward = dataclasses.replace(bare, deployment=Deployment.open(bare.deployment.folder, {}))
    ward.register(1)
    ward.log(20)
    ward.judge()
    kept = ward.profiles()
    # Two label delays of two days stay open.
    assert 14 <= len(kept) <= 16
    ward.log(6, effect=-1.0)
    read_since: list[int | None] = []
    joined = PredictionLog.joined

    def watched(self: PredictionLog, since_us: int | None, *others: Any) -> Any:
        read_since.append(since_us)
        return joined(self, since_us, *others)

    monkeypatch.setattr(PredictionLog, "joined", watched)
    piecewise = ward.judge()
    assert min(one or 0 for one in read_since) > START_US + 13 * DAY_US
    assert ward.profiles()[: len(kept)] == kept
    shutil.rmtree(ward.deployment.monitor_folder)
    anew = ward.judge()
    assert anew.kinds == piecewise.kinds == ("concept drift",)
    assert anew.since == piecewise.since
    assert [one.start for one in anew.windows] == [one.start for one in piecewise.windows]
    assert anew.coverage == piecewise.coverage


def test_a_window_that_ends_amid_rows_of_one_time_is_not_kept(bare: Ward) -> None:
    by_rows = CHECKLIST.replace('window = "1d"', f'window = "{PER_DAY} rows"')
    (bare.deployment.folder / "holdfast.toml").write_text(by_rows)
    ward = dataclasses.replace(bare, deployment=Deployment.open(bare.deployment.folder, {}))
    ward.register(1)
    ward.log(20)
    step_us = DAY_US // PER_DAY
    ward.log_stray(START_US + (PER_DAY - 1) * step_us)
    # The first window's last row and the second's first have one time: a later look could not part them.
    assert len(ward.judge().windows) == 20
    assert ward.profiles() == []


def test_windows_before_1970_close_as_others_do(ward: Ward) -> None:
    ward.days = -20_600
    ward.log(6)
    assert ward.judge().coverage.windows == 5
