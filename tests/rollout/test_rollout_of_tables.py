"""Where tables are the traffic, a rollout lives on them: copies first, then a share, then promotion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import beside_serve  # noqa: F401 - finds the next two
import numpy as np
import onnx
import pyarrow as pa
import pytest
from live_service import linear_signature
from pyarrow import parquet
from serve_process import make_deployment

from holdfast.artifact import Execution, store_artifact
from holdfast.clock import ManualClock
from holdfast.infer import SeenUnits, forget_units, keep_units_of, place_of, share_folder
from holdfast.prediction_log import Keeper, PredictionLog, add_label_file
from holdfast.registry import Registry
from holdfast.rollout import Report, RolloutLoop, start_rollout
from holdfast.score import ScoreReport, score_table
from holdfast.spec import Deployment
from holdfast.subject import erase_subject
from holdfast.telemetry import ServiceCounts, read_all, write_snapshot

TOML = """
[predictions]
mode = "batch"
[monitoring]
label_delay = "60s"
[logging]
context_fields = ["patient"]
[rollout]
shadow = "100s"
step = "10s"
ramp = [0.3, 1.0]
deadline = "100000s"
loss_scale = 100.0
max_flips = 1.0
max_volume_change = 1.0
assign_by = "patient"
"""
ROWS = 1000


@dataclass
class Nights:
    """Tables of patients, scored one after the other; the truth is 2 a."""

    deployment: Deployment
    registry: Registry
    clock: ManualClock
    folder: Path
    night: int = 0

    def start(self, version: str = "2", **more: Any) -> int:
        values: dict[str, Any] = {"actor": "ann", "reason": "retrained", "waive": "a test", **more}
        rollout, _ = start_rollout(self.deployment, self.registry, version, clock=self.clock, **values)
        return rollout.number

    def score(self, *, high: bool = False, **more: Any) -> tuple[pa.Table, ScoreReport]:
        self.night += 1
        a = np.arange(ROWS) % 40 + (60.0 if high else 0.0)
        patients = [f"patient-{row % 100}" for row in range(ROWS)]
        source = self.folder / f"night-{self.night}.parquet"
        parquet.write_table(pa.table({"a": a, "b": np.zeros(ROWS), "patient": patients}), source)
        target = self.folder / f"scored-{self.night}.parquet"
        report = score_table(
            self.deployment, self.registry, source, target,
            block_rows=150, clock=self.clock, pseudonym_key=b"k" * 32, **more,
        )  # fmt: skip
        return parquet.read_table(target), report

    def label(self, scored: pa.Table) -> None:
        file = self.folder / "labels.parquet"
        truth = 2.0 * scored["a"].to_numpy()
        parquet.write_table(pa.table({"prediction_id": scored["prediction_id"], "label": truth}), file)
        add_label_file(
            self.deployment, file, id_column="prediction_id", label_column=None, time_column=None,
            clock=self.clock,
        )  # fmt: skip

    def look(self) -> Report:
        Keeper(self.deployment, self.clock).run_once()
        found = RolloutLoop(self.deployment, self.registry, self.clock).run_once()
        assert found is not None
        return found[1]

    def arms(self) -> dict[tuple[str, str], int]:
        Keeper(self.deployment, self.clock).run_once()
        sql = "SELECT arm, model_version AS v, count(*) AS n FROM predictions GROUP BY ALL"
        found = PredictionLog(self.deployment).query(sql).read_all().to_pylist()
        return {(row["arm"], row["v"]): row["n"] for row in found}


@pytest.fixture
def nights(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nights]:
    weights = getattr(request, "param", (2.0, 2.0001))
    deployment = make_deployment(tmp_path / "ward", TOML, weights)
    clock = ManualClock(start_us=1_700_000_000_000_000)
    with Registry.open(deployment.registry_url, clock) as registry:
        yield Nights(deployment, registry, clock, tmp_path)


def test_night_after_night_a_challenger_goes_from_copies_over_a_share_to_promotion(nights: Nights) -> None:
    nights.start()
    for _ in range(3):
        scored, report = nights.score()
        assert set(scored["model_version"].to_pylist()) == {"1"}
        assert report.trial is not None
        assert (report.trial.copied, report.trial.answered, report.trial.failed) == (ROWS, 0, 0)
        nights.label(scored)
    nights.clock.advance_s(110)
    advanced = nights.look().plan
    assert (advanced.act, advanced.share) == ("advance", 0.3)
    nights.clock.advance_s(1)
    shared, report = nights.score()
    by_patient = dict(zip(shared["patient"].to_pylist(), shared["model_version"].to_pylist(), strict=True))
    assert report.trial is not None
    assert set(by_patient.values()) == {"1", "2"}
    answered = shared["model_version"].to_pylist().count("2")
    assert (report.trial.answered, report.trial.copied) == (answered, ROWS - answered)
    weight = {"1": 2.0, "2": 2.0001}
    for row in shared.to_pylist():
        assert row["prediction"] == pytest.approx(weight[row["model_version"]] * row["a"], rel=1e-6)
        assert row["model_version"] == by_patient[row["patient"]]  # one patient meets one version
    nights.label(shared)
    nights.clock.advance_s(70)
    promoted = nights.look()
    assert promoted.plan.act == "promote", promoted.plan.reason
    assert nights.registry.route().champion == "2"
    assert promoted.evidence.exposed == answered
    assert nights.arms() == {
        ("champion", "1"): 4 * ROWS - answered, ("shadow", "2"): 4 * ROWS - answered,
        ("challenger", "2"): answered,
    }  # fmt: skip


@pytest.mark.parametrize("nights", [(2.0, 2.5)], indirect=True)
def test_a_worse_challenger_is_sent_back_before_any_row_got_its_answer(nights: Nights) -> None:
    nights.start()
    for _ in range(3):
        nights.label(nights.score()[0])
    nights.clock.advance_s(110)
    assert nights.look().plan.act == "roll back"
    scored, report = nights.score()
    assert report.trial is None
    assert set(scored["model_version"].to_pylist()) == {"1"}


def test_rows_on_which_the_challenger_fails_are_answered_by_the_champion_and_counted(nights: Nights) -> None:
    known = ", ".join(f"{2.0 * value:.1f}" for value in range(50))
    graph = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["": 18]>
        looked_up (float[N,2] x) => (float[N,1] y)
        <float[50,1] w = {{{known}}}, int64[1] zero = {{0}}, int64[1] all = {{-1}}>
        {{
            first = Gather<axis = 1>(x, zero)
            whole = Cast<to = 7>(first)
            place = Reshape(whole, all)
            y = Gather(w, place)
        }}
    """)
    artifact = store_artifact(
        nights.deployment.artifacts_folder, runtime="onnx", model=graph.SerializeToString(),
        signature=linear_signature(), execution=Execution(),
        warmup={"a": [1.0, 2.0], "b": [0.5, -1.0]},
    )  # fmt: skip
    nights.registry.add_version(
        name="demo", sha256=artifact.sha256, created_at_us=0, created_by="test", metadata={}
    )
    number = nights.start("3")
    nights.registry.rollouts.advance(number, 0.3, reason="a test", actor="ann")
    scored, report = nights.score(high=True)  # beyond the fifty values that it knows
    assert report.trial is not None
    assert report.trial.answered == report.trial.copied == 0
    assert report.trial.failed >= ROWS
    assert scored["prediction"].to_pylist() == pytest.approx((2.0 * scored["a"].to_numpy()).tolist())
    assert set(scored["model_version"].to_pylist()) == {"1"}
    assert nights.arms() == {("champion", "1"): ROWS}
    seen = nights.look().evidence.challenger
    assert seen.errors == seen.requests > 0


def test_a_challenger_that_is_gone_keeps_no_table_from_its_caller(nights: Nights) -> None:
    nights.start()
    folder = nights.deployment.artifacts_folder / nights.registry.version("2").artifact_folder
    (folder / "model.onnx").unlink()
    scored, report = nights.score()
    assert report.trial is not None
    assert not report.trial.loaded
    assert "cannot be loaded" in str(report)
    assert scored.num_rows == ROWS


def test_many_nights_leave_one_file_of_counts_and_those_of_a_killed_table_are_in_it(nights: Nights) -> None:
    number = nights.start()
    place = nights.deployment.scored_folder / str(number) / "0"
    nights.score()
    killed = ServiceCounts()
    killed.copy("2").answered = 7
    write_snapshot(place, "score-killed", killed)
    for _ in range(3):
        nights.score()
    assert sorted(path.name for path in place.glob("*.counts")) == ["retired.counts"]
    assert read_all(place).copies["2"].answered == 4 * ROWS + 7


def test_a_rehearsal_and_a_named_version_take_no_part(nights: Nights) -> None:
    nights.start()
    assert nights.score(log=False)[1].trial is None
    assert nights.score(version="2")[1].trial is None
    assert nights.arms() == {("batch", "2"): ROWS}
    assert not nights.deployment.scored_folder.exists()


def test_beside_a_service_a_table_decides_no_rollout(nights: Nights) -> None:
    toml = nights.deployment.folder / "holdfast.toml"
    toml.write_text(toml.read_text().replace('mode = "batch"', 'mode = "realtime"'))
    nights.deployment = Deployment.open(nights.deployment.folder, {})
    nights.start()
    assert nights.score()[1].trial is None
    assert nights.arms() == {("batch", "1"): ROWS}


def test_a_first_deployment_is_judged_by_the_tables_that_it_scored(nights: Nights) -> None:
    nights.start("1", baseline="constant:10")
    for _ in range(2):
        nights.label(nights.score()[0])
    nights.clock.advance_s(110)
    plan = nights.look().plan
    assert (plan.act, plan.subject) == ("hold", "confirmation")


def test_a_unit_is_counted_once_at_a_share_whatever_the_night(tmp_path: Path) -> None:
    first = SeenUnits(tmp_path)
    assert [first.add(place) for place in (5, 2**64 - 1, 5)] == [True, True, False]
    first.write()
    second = SeenUnits(tmp_path)
    assert [second.add(place) for place in (5, 2**64 - 1, 7)] == [False, False, True]


def places_in(folder: Path) -> set[int]:
    return {int(place) for path in folder.rglob("*.npy") for place in np.load(path)}


def test_what_one_run_forgets_or_adds_another_that_runs_meanwhile_does_not_undo(tmp_path: Path) -> None:
    first = SeenUnits(tmp_path)
    first.add(5)
    first.add(6)
    first.write()
    second, third = SeenUnits(tmp_path), SeenUnits(tmp_path)
    second.add(7)
    third.add(8)
    assert forget_units(tmp_path, [5, 99]) == 1
    second.write()
    third.write()
    assert places_in(tmp_path) == {6, 7, 8}


def test_once_all_units_are_forgotten_none_is_counted_twice(tmp_path: Path) -> None:
    first, late = SeenUnits(tmp_path), SeenUnits(tmp_path)
    first.add(5)
    late.add(6)
    first.write()
    assert forget_units(tmp_path, None) == 1
    late.write()
    assert places_in(tmp_path) == set()
    assert not SeenUnits(tmp_path).add(5)


@pytest.mark.parametrize("field", ["patient", "a"])
def test_an_erasure_leaves_no_hash_by_which_the_subject_was_assigned(nights: Nights, field: str) -> None:
    toml = nights.deployment.folder / "holdfast.toml"
    text = toml.read_text().replace('assign_by = "patient"', f'assign_by = "{field}"')
    text = text.replace('context_fields = ["patient"]', "")
    toml.write_text(f'{text}\n[privacy]\nsubject_field = "patient"\n')
    nights.deployment = Deployment.open(nights.deployment.folder, {})
    scored = nights.deployment.scored_folder
    number = nights.start()
    nights.registry.rollouts.advance(number, 0.3, reason="a test", actor="ann")
    nights.score()
    route = nights.registry.route().challenger
    assert route is not None
    place = place_of(route.assignment_key, "patient-42")
    before = places_in(scored)
    assert (place in before) == (field == "patient")
    interrupted = SeenUnits(share_folder(scored, number, 0.3))  # a table that is being scored

    def erase() -> int:
        return erase_subject(
            nights.deployment, nights.registry, "patient-42",
            pseudonym_key=b"k" * 32, signing_key=bytes(32), actor="carol", clock=nights.clock,
        ).certificate.assignments  # fmt: skip

    assert erase() == (1 if field == "patient" else len(before))
    interrupted.add(1)
    interrupted.write()
    assert places_in(scored) == ((before - {place}) | {1} if field == "patient" else set())
    wanted = np.uint64(place).tobytes()
    killed = share_folder(scored, number, 0.3) / "units.npy.part"  # while it kept its units
    killed.write_bytes(b"header" + wanted)
    assert erase() == 0
    files = [path for path in nights.deployment.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if wanted in path.read_bytes()] == []


def test_units_go_with_the_share_and_the_rollout_that_needed_them(nights: Nights) -> None:
    scored = nights.deployment.scored_folder
    number = nights.start()
    nights.registry.rollouts.advance(number, 0.3, reason="a test", actor="ann")
    nights.score()
    assert len(places_in(scored)) == 100
    (scored / str(number) / "0.3" / "units.npy.part").write_bytes(b"of a run that was killed")
    keep_units_of(scored, nights.registry.rollouts.open())
    assert len(places_in(scored)) == 100
    nights.registry.rollouts.advance(number, 0.6, reason="a test", actor="ann")
    nights.score()
    assert [path.parent.name for path in scored.rglob("units*")] == ["0.6"]
    nights.registry.rollouts.end(number, "rolled back", reason="a test", actor="ann")
    nights.score()
    assert not [*scored.rglob("units*")]
    assert [*scored.rglob("*.counts")]
