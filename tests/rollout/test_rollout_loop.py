"""The loop on a real registry and a real log, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import beside_serve  # noqa: F401 - finds the next two
import msgspec
import numpy as np
import pytest
from live_service import linear_model
from serve_process import make_deployment

from holdfast.clock import ManualClock
from holdfast.infer import Block, DataPlane
from holdfast.prediction_log import Keeper, Label, SpoolWriter
from holdfast.privacy import Redactor
from holdfast.registry import Registry, Rollout
from holdfast.rollout import (
    Report,
    RolloutError,
    RolloutLoop,
    UncheckedError,
    confirm,
    replay_rollout,
    start_rollout,
)
from holdfast.rollout.health import count, exposed
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts, write_snapshot

TOML = """
[monitoring]
label_delay = "60s"
[rollout]
shadow = "100s"
step = "10s"
ramp = [0.1, 1.0]
deadline = "1000s"
loss_scale = 100.0
max_flips = 1.0
max_volume_change = 1.0
"""


@dataclass
class World:
    """Version N of the deployment answers weights[N - 1] times a; the truth is 2 a."""

    deployment: Deployment
    registry: Registry
    clock: ManualClock
    plane: DataPlane
    weights: tuple[float, ...]
    rows: int = 0

    def start(self, version: str = "2", **changes: Any) -> Rollout:
        values: dict[str, Any] = {"actor": "ann", "reason": "retrained", "waive": "a test", **changes}
        return start_rollout(self.deployment, self.registry, version, clock=self.clock, **values)[0]

    def answer(self, rows: int, *, labelled: bool = True, label_after_s: float = 1.0) -> None:
        """Rows that the champion answers and the challenger in shadow."""
        a = np.arange(rows) % 50 + 1.0
        ids = [f"row-{self.rows + row}" for row in range(rows)]
        self.rows += rows
        for version, arm in (("1", "champion"), ("2", "shadow")):
            model = linear_model(version, (self.weights[int(version) - 1], 0.0))
            block = Block(rows, {"a": a, "b": np.zeros(rows)}, ids)
            self.plane.answer(model, block, arm=arm)
        self.clock.advance_s(label_after_s)
        if labelled:
            now_us = self.clock.now_us()
            self.plane.append_labels(
                [Label(one, str(2.0 * value), now_us) for one, value in zip(ids, a.tolist(), strict=True)]
            )
        counts = ServiceCounts()
        counts.batch("1", self.rows, 0.001)
        counts.copy("2").answered = self.rows
        counts.copy("2").run_s.observe(0.001)
        write_snapshot(self.deployment.run_folder, "worker", counts)
        Keeper(self.deployment, self.clock).run_once()

    def look(self) -> Report:
        found = RolloutLoop(self.deployment, self.registry, self.clock).run_once()
        assert found is not None
        return found[1]


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    weights = getattr(request, "param", (2.0, 2.0001))
    deployment = make_deployment(tmp_path, TOML, weights)
    deployment.run_folder.mkdir()
    clock = ManualClock(start_us=1_700_000_000_000_000)
    writer = SpoolWriter(deployment.log_folder, deployment="demo", replica="test", clock=clock)
    plane = DataPlane(writer, Redactor(deployment.checklist.privacy, b"k" * 32), clock)
    with Registry.open(deployment.registry_url, clock) as registry:
        yield World(deployment, registry, clock, plane, weights)
    plane.close()


def test_equal_versions_go_from_shadow_over_the_ramp_to_promotion(world: World) -> None:
    rollout = world.start()
    assert world.look().plan.act == "none"
    world.answer(3000)
    world.clock.advance_s(100)
    first = world.look()
    assert (first.plan.act, first.plan.share) == ("advance", 0.1)
    assert first.evidence.labelled == first.evidence.admitted == 3000
    world.answer(100)
    world.clock.advance_s(10)
    # The counts of the canary's own requests are empty: nothing has reached the challenger yet.
    assert "no traffic" in world.look().plan.reason
    counts = ServiceCounts()
    for version in ("1", "2"):
        counts.route("/predict", version).observe(200, 0.001)
    write_snapshot(world.deployment.run_folder, "worker", counts)
    promoted = world.look()
    assert promoted.plan.act == "promote"
    assert world.registry.route().champion == "2"
    assert world.registry.rollouts.steps(rollout.number)[-1].reason == promoted.plan.reason
    assert world.registry.evidence("2", "rollout", limit=1)[0].payload["act"] == "promote"


def test_the_fast_clock_hears_those_whom_the_rollout_assigned_and_nobody_who_named_a_version(
    world: World,
) -> None:
    rollout = world.start()
    counts = ServiceCounts()
    # In shadow somebody names the challenger, which fails; on copies it does not.
    counts.batch("1", 5000, 0.001)
    counts.batch("2", 5000, 30.0)
    counts.version("2").failures = 4000
    counts.copy("2").answered = 300
    counts.copy("2").run_s.observe(0.001)
    shadow = count(counts, rollout)
    assert (shadow.challenger.requests, shadow.challenger.errors) == (300, 0)
    assert sum(shadow.challenger.latency) == 1
    assert (shadow.champion.requests, shadow.champion.errors) == (5000, 0)
    # With a share of the traffic the same caller goes on naming it; so does another one the champion.
    canary = msgspec.structs.replace(rollout, phase="canary", share=0.1)
    for version, status in (("1", 200), ("2", 500)):
        counts.route("/predict", version).observe(200, 0.001)
        for _ in range(700):
            counts.route("/v2/models/demo/infer", version, named=True).observe(status, 9.0)
    assigned = count(counts, canary)
    for arm in (assigned.champion, assigned.challenger):
        assert (arm.requests, arm.errors, sum(arm.latency)) == (1, 0, 1)
    assert exposed(counts, canary) == 1


@pytest.mark.parametrize("world", [(2.0, 2.5)], indirect=True)
def test_a_worse_challenger_is_sent_back_by_labels_before_any_caller_saw_it(world: World) -> None:
    rollout = world.start()
    world.answer(2000)
    world.clock.advance_s(70)
    report = world.look()
    assert (report.plan.act, report.plan.clock) == ("roll back", "labels")
    ended = world.registry.rollouts.all()[0]
    assert (ended.phase, ended.reason) == ("rolled back", report.plan.reason)
    assert [one.action for one in world.registry.rollouts.steps(rollout.number)] == ["start", "roll back"]
    assert world.registry.route().champion == "1"


@pytest.mark.parametrize("world", [(2.0, 2.5)], indirect=True)
def test_labels_count_at_maturity_and_never_before_or_after(world: World) -> None:
    world.start()
    world.answer(1000)
    assert world.look().evidence.admitted == 0  # all are labelled, none is old enough
    world.clock.advance_s(70)
    world.rows, late = 5000, 61.0
    world.answer(500, label_after_s=late)
    evidence = world.look().evidence
    assert (evidence.admitted, evidence.labelled) == (1500, 1000)  # the late labels are as if they never came


def test_without_labels_it_waits_and_at_the_deadline_it_does_not_ship(world: World) -> None:
    world.start()
    world.look()
    world.answer(500, labelled=False)
    world.clock.advance_s(200)
    assert world.look().plan.act == "advance"
    world.clock.advance_s(500)
    counts = ServiceCounts()
    counts.route("/predict", "2").observe(200, 0.001)
    world.look()
    write_snapshot(world.deployment.run_folder, "worker", counts)
    plan = world.look().plan
    assert (plan.act, plan.reason) == ("none", "no mature label is there yet")
    world.clock.advance_s(500)
    assert world.look().plan.act == "expire"
    assert (world.registry.route().champion, world.registry.rollouts.all()[0].phase) == ("1", "expired")


@pytest.mark.parametrize("world", [(2.0, 2.9)], indirect=True)
def test_a_hold_ends_when_a_person_says_so_and_does_not_come_back(world: World) -> None:
    path = world.deployment.folder / "holdfast.toml"
    path.write_text(path.read_text().replace("max_flips = 1.0", "max_flips = 0.05"))
    world.deployment = Deployment.open(world.deployment.folder, {})
    rollout = world.start()
    world.look()
    world.answer(2000, labelled=False)
    assert world.look().plan.subject == "flips"
    assert world.look().plan.reason.startswith("held")
    world.registry.rollouts.resume(rollout.number, reason="as intended", actor="ann")
    world.clock.advance_s(100)
    assert world.look().plan.act == "advance"


def test_a_version_without_a_passed_check_does_not_start(world: World) -> None:
    for payload in (None, {"verdict": "fail"}, {"verdict": "pass", "checklist_hash": "of another day"}):
        if payload is not None:
            world.registry.attach_evidence("2", "check", payload)
        with pytest.raises(UncheckedError, match="not ready"):
            world.start(waive="")
    passed = {"verdict": "pass", "checklist_hash": world.deployment.checklist_hash}
    world.clock.advance_s(1)
    world.registry.attach_evidence("2", "check", passed)
    assert world.start(waive="").waived == ""


def test_promotion_by_hand_asks_for_a_passed_check_unless_a_reason_waives_it(world: World) -> None:
    mine = world.deployment.checklist_hash
    for payload, lacks in (
        (None, "it was never checked"),
        ({"verdict": "unknown", "checklist_hash": mine}, "its check says unknown"),
        ({"verdict": "pass", "checklist_hash": "of another day"}, "of another checklist"),
        ({"verdict": "fail", "checklist_hash": mine}, "its check says fail"),
    ):
        if payload is not None:
            world.clock.advance_s(1)
            world.registry.attach_evidence("2", "check", payload)
        for blank in ("", "  "):
            with pytest.raises(UncheckedError, match=lacks):
                confirm(world.deployment, world.registry, "2", reason="now", waive=blank, actor="ann")
    assert world.registry.route().champion == "1"
    confirm(world.deployment, world.registry, "2", reason="now", waive="the fault is known", actor="ann")
    assert world.registry.route().champion == "2"
    assert world.registry.decisions()[-1].reason == "now (its check says fail; waived: the fault is known)"
    assert any("the fault is known" in str(one.detail) for one in world.registry.audit.entries())


def test_promotion_by_hand_after_a_passed_check_needs_no_waiver(world: World) -> None:
    passed = {"verdict": "pass", "checklist_hash": world.deployment.checklist_hash}
    world.registry.attach_evidence("2", "check", passed)
    confirm(world.deployment, world.registry, "2", reason="better", waive="", actor="ann")
    assert world.registry.decisions()[-1].reason == "better"


def test_a_first_deployment_is_judged_against_a_constant_and_waits_for_a_person(world: World) -> None:
    rollout = world.start("1", baseline="constant:50")
    world.answer(3000)
    counts = ServiceCounts()
    counts.route("/predict", "1").observe(200, 0.001)
    world.look()
    write_snapshot(world.deployment.run_folder, "worker", counts)
    counts.route("/predict", "1").observe(200, 0.001)
    write_snapshot(world.deployment.run_folder, "worker", counts)
    world.clock.advance_s(200)
    report = world.look()
    assert (report.plan.act, report.plan.subject) == ("hold", "confirmation")
    assert report.evidence.quality is not None
    assert report.evidence.quality.upper < 0  # better than answering 50 to everything
    confirm(world.deployment, world.registry, "1", reason="confirmed", waive="", actor="ann")
    assert world.registry.rollouts.all()[rollout.number - 1].phase == "promoted"


def test_answers_of_people_are_a_baseline_and_may_not_change_underway(world: World, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("prediction_id,answer\n" + "".join(f"row-{n},{n % 50}\n" for n in range(100)))
    world.start("1", baseline=f"answers:{path}")
    world.answer(200)
    world.clock.advance_s(70)
    assert world.look().evidence.admitted == 100  # rows that people answered too
    path.write_text("prediction_id,answer\nrow-0,2\n")
    with pytest.raises(RolloutError, match="not those"):
        world.look()


@pytest.mark.parametrize("text", ["rule", "constant:", "answers:", "median:3"])
def test_a_baseline_that_says_nothing_is_refused(world: World, text: str) -> None:
    with pytest.raises(RolloutError, match=r"constant:ANSWER, or answers:FILE"):
        world.start("1", baseline=text)


@pytest.mark.parametrize(
    ("key", "message"),
    [('slices = ["shop"]', "nobody would see it"), ('assign_by = "customer"', "no such field to assign by")],
)
def test_what_could_not_be_watched_or_assigned_stops_the_start(world: World, key: str, message: str) -> None:
    path = world.deployment.folder / "holdfast.toml"
    path.write_text(path.read_text().replace("[rollout]", f"[rollout]\n{key}"))
    world.deployment = Deployment.open(world.deployment.folder, {})
    world.answer(10)
    with pytest.raises(RolloutError, match=message):
        world.start()
    assert world.registry.rollouts.open() is None


@pytest.mark.parametrize("world", [(2.0, 2.5)], indirect=True)
def test_slices_are_fixed_at_the_start_and_watched(world: World) -> None:
    path = world.deployment.folder / "holdfast.toml"
    path.write_text(path.read_text().replace("[rollout]", '[rollout]\nslices = ["b"]'))
    world.deployment = Deployment.open(world.deployment.folder, {})
    world.answer(10)
    rollout = world.start()
    world.answer(2000)
    world.clock.advance_s(70)
    report = world.look()
    assert [one.name for one in report.evidence.slices] == ["b = 0"]
    assert report.evidence.slices[0].n == 2000
    assert world.registry.rollouts.all()[rollout.number - 1].phase == "rolled back"


@pytest.mark.parametrize("world", [(2.0, 2.05)], indirect=True)
def test_a_replay_decides_as_the_policy_did_and_otherwise_under_other_terms(world: World) -> None:
    rollout = world.start()
    world.look()
    world.answer(3000)
    world.clock.advance_s(70)
    assert world.look().plan.act == "roll back"
    again = replay_rollout(world.deployment, world.registry, rollout.number, clock=world.clock, looks=10)
    assert [one.plan.act for one in again] == ["roll back"]
    assert again[0].at_us <= world.clock.now_us()
    path = world.deployment.folder / "holdfast.toml"
    path.write_text(path.read_text().replace('label_delay = "60s"', 'label_delay = "30d"'))
    later = Deployment.open(world.deployment.folder, {})
    assert replay_rollout(later, world.registry, rollout.number, clock=world.clock, looks=10) == []
    with pytest.raises(RolloutError, match="there is no such rollout"):
        replay_rollout(later, world.registry, 9, clock=world.clock, looks=10)


def test_a_check_of_the_start_counts_though_the_service_overrides_its_port(world: World) -> None:
    passed = {"verdict": "pass", "checklist_hash": world.deployment.checklist_hash}
    world.registry.attach_evidence("2", "check", passed)
    world.start(waive="")
    world.look()
    world.answer(3000)
    world.clock.advance_s(100)
    world.deployment = Deployment.open(world.deployment.folder, {"HOLDFAST_TARGET__PORT": "8123"})
    assert world.deployment.checklist_hash != passed["checklist_hash"]
    assert world.look().plan.act == "advance"
    world.look()
    counts = ServiceCounts()
    counts.route("/predict", "2").observe(200, 0.001)
    write_snapshot(world.deployment.run_folder, "worker", counts)
    world.clock.advance_s(10)
    assert world.look().plan.act == "promote"
