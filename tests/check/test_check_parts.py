"""Verdicts, confines, conflicts: the parts of a check that need no service."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from holdfast.check import Facts, find_conflicts
from holdfast.check.lines import Line, judge_at_most, overall
from holdfast.check.live import latency_interval
from holdfast.check.offline import monitoring_lines
from holdfast.cli import main
from holdfast.clock import SystemClock
from holdfast.loadtest import Percentile
from holdfast.registry import Registry
from holdfast.spec import Deployment, parse_checklist


def judged(value: float | None, interval: tuple[float, float] | None, *, lower_only: bool = False) -> Line:
    return judge_at_most(
        "speed.p99_ms", 10.0, value, interval, nearest="slower", unsure="longer", lower_only=lower_only
    )


def test_a_limit_inside_the_interval_is_unknown_and_never_a_pass() -> None:
    assert judged(8.0, (7.0, 9.0)).verdict == "pass"
    assert judged(12.0, (11.0, 13.0)).verdict == "fail"
    assert judged(9.5, (9.0, 10.5)).verdict == "unknown"
    assert judged(None, None).verdict == "unknown"
    assert judged(12.0, (11.0, 13.0)).advice == "slower"


def test_an_upper_bound_of_the_truth_can_pass_and_cannot_fail() -> None:
    assert judged(8.0, (7.0, 9.0), lower_only=True).verdict == "pass"
    assert judged(12.0, (11.0, 13.0), lower_only=True).verdict == "unknown"


def test_an_interval_of_latency_holds_other_starts_and_has_no_lower_end_on_a_busy_machine() -> None:
    found = Percentile(0.99, 10.0, 9.0, 11.0)
    interval = latency_interval(found, None)
    assert interval is not None
    # Two parts of one standard deviation each, as squares: 1.96 * 7 % and the measured ends.
    assert interval[0] == pytest.approx(10 * math.exp(-math.hypot(math.log(10 / 9), 1.96 * 0.07)), rel=1e-3)
    assert interval[1] == pytest.approx(10 * math.exp(math.hypot(math.log(11 / 10), 1.96 * 0.07)), rel=1e-3)
    assert latency_interval(found, "other programs used 40 % of the cores") == (0.0, interval[1])
    assert latency_interval(Percentile(0.99, 10.0, 9.0, None), None) is None


def test_one_fail_outweighs_all_and_no_line_is_unknown() -> None:
    lines = {v: Line(line="a", asked=1, measured=1, verdict=v) for v in ("pass", "fail", "unknown")}
    assert overall([lines["pass"], lines["unknown"], lines["fail"]]) == "fail"
    assert overall([lines["pass"], lines["unknown"]]) == "unknown"
    assert overall([lines["pass"]]) == "pass"
    assert overall([]) == "unknown"


@pytest.mark.parametrize(
    ("toml", "model_mb", "runtime", "keys"),
    [
        ('[target]\nwhere = "browser"', 400.0, "onnx", ("target.where", "compute.model_size_mb")),
        ('[target]\nwhere = "browser"', 1.0, "python", ("target.where",)),
        ('[target]\nwhere = "edge"', 1.0, "python", ("target.where",)),
        ("[speed]\nqps = 5000", 1.0, "python", ("speed.qps", "compute.cores")),
        ("[compute]\nmemory_mb = 512", 400.0, "onnx", ("compute.memory_mb", "compute.cores")),
        ("[logging]\nretention_days = 7", 1.0, "onnx", ("logging.retention_days", "monitoring.label_delay")),
        (
            '[logging]\ndurability = "synced"\n[speed]\np99_ms = 2',
            1.0,
            "onnx",
            ("logging.durability", "speed.p99_ms"),
        ),
    ],
)
def test_answers_that_fight_each_other_are_named(
    toml: str, model_mb: float, runtime: str, keys: tuple[str, ...]
) -> None:
    checklist = parse_checklist(f'[model]\nname = "fraud"\n{toml}', source="here")
    found = find_conflicts(Facts(checklist, model_mb, runtime))
    assert [conflict.keys for conflict in found] == [keys]


def test_the_defaults_fight_nobody() -> None:
    checklist = parse_checklist('[model]\nname = "fraud"', source="here")
    assert find_conflicts(Facts(checklist, 10.0, "onnx")) == []


def test_a_safeguard_weakened_without_a_reason_is_a_line_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holdfast.toml").write_text(
        '[model]\nname = "triage"\n[security]\nauth = "keys"\n[privacy]\nsensitivity = "high"\n'
        '[privacy.actions]\nsensitive = "keep"\n'
    )
    with pytest.raises(SystemExit) as ended:
        main(["check", "-C", str(tmp_path), "--json"])
    assert ended.value.code == 1
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert line["line"] == "privacy.actions.sensitive"
    assert line["verdict"] == "fail"
    assert "weakened_reason" in line["advice"]


def test_a_reference_that_is_not_what_was_registered_is_a_line_that_fails(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "demo"\n')
    deployment = Deployment.open(tmp_path, {})
    path = deployment.references_folder / "1" / "reference.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rows")
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        version = registry.add_version(
            name="demo",
            sha256="1" * 64,
            created_at_us=1,
            created_by="ann",
            metadata={"reference_sha256": hashlib.sha256(b"rows").hexdigest(), "reference_rows": 1000},
        )
        (line,) = monitoring_lines(deployment, registry, version)
        assert (line.measured, line.verdict) == (1000, "pass")
        path.write_bytes(b"other rows")
        (line,) = monitoring_lines(deployment, registry, version)
        assert line.verdict == "fail"
        assert "not what was registered" in line.measured


def test_without_a_version_there_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "triage"\n')
    with pytest.raises(SystemExit) as ended:
        main(["check", "-C", str(tmp_path)])
    assert ended.value.code == 1
    assert "holdfast register" in capsys.readouterr().err
