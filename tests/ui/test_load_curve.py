"""The curve of latency against load, on the checklist page and in the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cookie_caller import Caller

from holdfast.clock import ManualClock
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.ui import make_dashboard
from holdfast.ui.facts import Facts
from holdfast.ui.report import make_report, write_report

NOW_US = 1_780_000_000_000_000


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    clock = ManualClock(NOW_US)
    with Registry.open(Deployment.open(tmp_path, {}).registry_url, clock) as found:
        found.add_version(name="ward", sha256="ab" * 32, created_at_us=0, created_by="t", metadata={})
        found.promote("1", reason="first", actor="t")
        yield found


@pytest.fixture
def caller(tmp_path: Path, registry: Registry) -> Caller:
    return Caller(make_dashboard(Deployment.open(tmp_path, {}), registry, ManualClock(NOW_US)))


def curve(**changed: Any) -> dict[str, Any]:
    points = [
        {
            "rate_per_s": rate,
            "p50": {"q": 0.5, "ms": 1.0, "low_ms": 0.9, "high_ms": 1.1},
            "p99": {"q": 0.99, "ms": p99, "low_ms": p99 / 2, "high_ms": None},
            "failed_share": 0.0,
            "kept": p99 < 50,
            "disturbed": None,
        }
        for rate, p99 in ((100.0, 2.0), (1000.0, 10.0), (10_000.0, 200.0))
    ]
    found = {"points": points, "p99_ms": 50.0, "qps": 1000.0, "rate_per_s": 4000.0, "confirmations": 3}
    return {**found, "stopped_by": "p99 <b>200 ms</b>", "seconds": 5.0, "machine": "here", **changed}


def test_before_the_first_search_the_page_says_how_to_make_one(caller: Caller) -> None:
    assert "holdfast loadtest --search" in caller.get("/ui/checklist").text


def test_the_curve_stands_on_the_page_with_the_rate_that_was_found(
    caller: Caller, registry: Registry
) -> None:
    registry.attach_evidence("1", "load curve", curve())
    page = caller.get("/ui/checklist").text
    assert "4,000 requests per second" in page
    assert "p99 &lt;b&gt;200 ms&lt;/b&gt;" in page
    drawn = page[page.index("99th percentile of latency against load") :]
    marks = re.search(r'class="mark measured" d="([^"]*)"', drawn)
    assert marks is not None
    places = re.findall(r"M([\d.]+) ([\d.]+)h", marks[1])
    # Tenfold each: equal distances on a logarithmic scale, and the asked rate stands half way.
    assert [x for x, _ in places] == ["37.0", "500.0", "963.0"]
    assert '<path class="level" d="M500.0 0V100"/>' in drawn
    assert [float(y) for _, y in places] == sorted((float(y) for _, y in places), reverse=True)


def test_where_no_rate_keeps_the_promise_the_page_says_so(caller: Caller, registry: Registry) -> None:
    registry.attach_evidence("1", "load curve", curve(rate_per_s=None, confirmations=0))
    assert "No rate that was tried keeps" in caller.get("/ui/checklist").text


@pytest.mark.parametrize("broken", [{"points": []}, {"points": "none"}, {"p99_ms": None}])
def test_evidence_that_holds_no_curve_is_no_fault_of_the_page(
    broken: dict[str, Any], caller: Caller, registry: Registry
) -> None:
    registry.attach_evidence("1", "load curve", curve(**broken))
    found = caller.get("/ui/checklist")
    assert found.status_code == 200
    assert "has not been searched yet" in found.text


@pytest.mark.parametrize("suffix", [".html", ".pdf"])
def test_the_report_draws_it_too(tmp_path: Path, registry: Registry, suffix: str) -> None:
    registry.attach_evidence("1", "load curve", curve())
    facts = Facts(Deployment.open(tmp_path, {}), registry, ManualClock(NOW_US))
    target = tmp_path / f"report{suffix}"
    write_report(make_report(facts), target)
    if suffix == ".html":
        assert "4,000 requests per second" in target.read_text()
    else:
        assert target.read_bytes().startswith(b"%PDF")
