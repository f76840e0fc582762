"""Verdicts, confines, conflicts: the parts of a check that need no service."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast.check import Facts, find_conflicts
from holdfast.check.confines import Confines, Usage
from holdfast.check.lines import Line, judge_at_most, overall
from holdfast.cli import main
from holdfast.spec import parse_checklist


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


def test_one_fail_outweighs_all_and_no_line_is_unknown() -> None:
    lines = {v: Line(line="a", asked=1, measured=1, verdict=v) for v in ("pass", "fail", "unknown")}
    assert overall([lines["pass"], lines["unknown"], lines["fail"]]) == "fail"
    assert overall([lines["pass"], lines["unknown"]]) == "unknown"
    assert overall([lines["pass"]]) == "pass"
    assert overall([]) == "unknown"


def test_a_cgroup_is_used_where_the_memory_controller_is_delegated(tmp_path: Path) -> None:
    parent = tmp_path / "system.slice"
    parent.mkdir()
    (parent / "cgroup.subtree_control").write_text("cpu memory\n")
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own="0::/system.slice\n")
    assert confines.group is not None
    assert "cgroup" in confines.how
    confines.limit([])
    assert (confines.group / "memory.max").read_text() == "512000000"


@pytest.mark.parametrize(("control", "own"), [("cpu\n", "0::/system.slice\n"), ("memory\n", "4:memory:/x\n")])
def test_without_that_rlimit_is_used_and_the_report_says_so(tmp_path: Path, control: str, own: str) -> None:
    parent = tmp_path / "system.slice"
    parent.mkdir()
    (parent / "cgroup.subtree_control").write_text(control)
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own=own)
    assert confines.group is None
    assert "rlimit" in confines.how


def test_usage_sums_the_processes_of_one_session_only(tmp_path: Path) -> None:
    for pid, session, pss_kb in ((10, 10, 100), (11, 10, 50), (12, 99, 7000)):
        entry = tmp_path / str(pid)
        entry.mkdir()
        (entry / "stat").write_text(f"{pid} (a b) S 1 1 {session} 0 0 0 0 0 0 0 200 100 0 0\n")
        (entry / "smaps_rollup").write_text(f"Rss: 1 kB\nPss: {pss_kb} kB\n")
    usage = Usage(10, tmp_path)
    assert usage.pids() == [10, 11]
    assert usage.memory_bytes() == 150 * 1024


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


def test_without_a_version_there_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "triage"\n')
    with pytest.raises(SystemExit) as ended:
        main(["check", "-C", str(tmp_path)])
    assert ended.value.code == 1
    assert "holdfast register" in capsys.readouterr().err


def test_the_time_of_others_is_counted_on_the_cores_of_the_service_alone(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    core = Confines(1, 512_000_000, own="").cores[0]
    # user nice system idle iowait irq softirq steal guest guest_nice, in ticks.
    stat.write_text(
        f"cpu 9 9 9 9 9 9 9 9 0 0\ncpu{core} 100 20 30 999 50 40 60 50 0 0\ncpu{core + 7} 5 5 5 5 5 5 5 5\n"
    )
    assert Confines(1, 512_000_000, own="").busy_s(stat) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert Confines(1, 512_000_000, own="").busy_s(tmp_path / "none") is None
