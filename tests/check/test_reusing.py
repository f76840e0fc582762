"""What an earlier check measured is taken again only where nothing that it depends on has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import onnx.parser
import pytest

from holdfast.check.lines import CheckReport, Line, Verdict
from holdfast.check.reusing import Inputs, reusable_lines
from holdfast.clock import SystemClock, iso_utc
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

GRAPH = """
    <ir_version: 9, opset_import: ["": 18]>
    linear (float[N,2] x) => (float[N,1] y)
    <float[2,1] w = {2.0, 3.0}>
    { y = MatMul(x, w) }
"""
NOON_US = 1_780_000_000_000_000
HOUR_US = 3_600_000_000
INPUTS = Inputs("hash", "machine", "software", "affinity", 6.0)
PASSED = (
    Line(line="compute.model_size_mb", asked=100, measured=1.0, verdict="pass"),
    Line(line="speed.p99_ms", asked=50.0, measured=3.0, interval=(2.0, 4.0), verdict="pass"),
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "sums"\n')
    deployment = Deployment.open(tmp_path, {})
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as found:
        register_model(deployment, found, onnx.parser.parse_model(GRAPH), clock=clock)
        yield found


def attach(registry: Registry, lines: tuple[Line, ...] = PASSED, /, **changed: object) -> None:
    report = CheckReport(
        name="sums",
        version="1",
        checklist_hash=INPUTS.checklist_hash,
        machine=INPUTS.machine,
        at=iso_utc(NOON_US),
        confined=INPUTS.confined,
        lines=lines,
        verdict="pass",
        software=INPUTS.software,
        seconds=INPUTS.seconds,
    )
    payload = msgspec.to_builtins(msgspec.structs.replace(report, **changed))
    registry.attach_evidence("1", "check", payload)


def reuse(
    registry: Registry, since_us: int = NOON_US - HOUR_US, inputs: Inputs = INPUTS
) -> tuple[Line, ...] | None:
    anew = {"compute.model_size_mb"}
    return reusable_lines(registry, "check", "1", inputs=inputs, since_us=since_us, anew=anew)


def test_what_passed_is_taken_with_the_time_of_its_measurement_and_nothing_answered_anew(
    registry: Registry,
) -> None:
    attach(registry)
    assert reuse(registry) == (msgspec.structs.replace(PASSED[1], at=iso_utc(NOON_US)),)


def test_taking_it_again_and_again_makes_it_no_younger(registry: Registry) -> None:
    old = msgspec.structs.replace(PASSED[1], at=iso_utc(NOON_US - 2 * HOUR_US))
    attach(registry, (old,))
    assert reuse(registry) is None
    assert reuse(registry, NOON_US - 3 * HOUR_US) == (old,)


@pytest.mark.parametrize(
    "changed",
    [
        {"checklist_hash": "another"},
        {"machine": "another"},
        {"software": "another"},
        {"confined": "a cgroup"},
        {"seconds": 1.5},
    ],
)
def test_another_checklist_machine_software_or_a_shorter_load_is_no_evidence(
    registry: Registry, changed: dict[str, object]
) -> None:
    attach(registry, **changed)
    assert reuse(registry) is None


def test_a_longer_load_than_asked_for_will_do(registry: Registry) -> None:
    attach(registry, seconds=60.0)
    assert reuse(registry) is not None


def test_a_check_of_another_checklist_in_between_does_not_hide_what_was_measured(registry: Registry) -> None:
    attach(registry)
    attach(registry, checklist_hash="another")
    assert reuse(registry) is not None


def test_what_failed_since_with_the_same_inputs_hides_what_passed_before(registry: Registry) -> None:
    attach(registry)
    attach(registry, (msgspec.structs.replace(PASSED[1], verdict="fail"),))
    assert reuse(registry) is None


@pytest.mark.parametrize("verdict", ["fail", "unknown"])
def test_what_failed_or_is_unknown_is_measured_again(registry: Registry, verdict: Verdict) -> None:
    attach(registry, (*PASSED, Line(line="speed.qps", asked=1, measured=1, verdict=verdict)))
    assert reuse(registry) is None


def test_evidence_of_a_release_that_wrote_it_otherwise_is_left_alone(registry: Registry) -> None:
    assert reuse(registry) is None
    registry.attach_evidence("1", "check", {"verdict": "pass"})
    assert reuse(registry) is None
