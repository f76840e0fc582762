"""A whole compression, and what is said where nothing is to be gained or nothing fits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from holdfast.artifact import open_artifact
from holdfast.cli import main
from holdfast.clock import SystemClock
from holdfast.compress import CompressReport, Judgement, Measured, Probed, compress_version, draw_frontier
from holdfast.compress import running as compress_running
from holdfast.compress.bench import Bench
from holdfast.compress.choosing import Budget, choose
from holdfast.compress.report import frontier
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment


def measured(
    name: str, size: int, upper: float, *, faster: float = 1.0, memory_mb: float = 50.0, p99_ms: float = 2.0
) -> Measured:
    probed = Probed(
        memory_mb=memory_mb,
        p50_ms=1.0 / faster,
        p99_ms=p99_ms,
        rows_per_s=1000.0 * faster,
        original_p50_ms=1.0,
        original_rows_per_s=1000.0,
        speedup=(faster, faster * 0.98, faster * 1.1),
        batch_speedup=(faster, faster * 0.98, faster * 1.1),
    )
    judgement = Judgement(
        metric="share of wrong answers", original=0.1, loss=0.0, upper=upper, rows=1000, worst_slices=()
    )
    return Measured(
        name=name,
        how=name,
        size_bytes=size,
        size_ratio=size / 1_000_000,
        probed=probed,
        judgement=judgement,
        one_by_one=False,
    )


BUDGET = Budget(allowed_loss=0.01, model_size_mb=1.0, p99_ms=10.0)


def test_what_is_better_on_no_axis_is_not_shown() -> None:
    slow = measured("slow", 990_000, 0.0, faster=0.25)
    noise = measured("noise", 1_000_000, 0.0, faster=1.1)
    small = measured("small", 300_000, 0.005)
    assert [one.name for one in frontier([slow, noise, small], 50.0)] == ["small"]


def test_a_gain_nobody_feels_is_none() -> None:
    # Half the size of 2 kB, and twice as fast by a microsecond.
    tiny = measured("tiny", 1_000, 0.0, faster=1.005)
    assert frontier([tiny], 50.0) != ()
    few = Measured(**{**{f: getattr(tiny, f) for f in tiny.__struct_fields__}, "size_ratio": 0.5})
    assert frontier([few], 50.0) == ()


def test_the_smallest_inside_the_allowed_loss_is_chosen() -> None:
    best = frontier(
        [measured("bad", 100_000, 0.2), measured("good", 200_000, 0.008), measured("large", 500_000, 0.001)],
        50.0,
    )
    chosen, missing = choose(best, BUDGET)
    assert chosen is not None
    assert chosen.name == "good"
    assert not missing


def test_where_none_fits_the_nearest_is_named_with_what_is_missing() -> None:
    best = frontier([measured("bad", 100_000, 0.2), measured("near", 200_000, 0.013)], 50.0)
    chosen, missing = choose(best, BUDGET)
    assert chosen is None
    assert "near" in missing
    assert "0.0030 more than the allowed 0.01" in missing
    chosen, missing = choose(frontier([measured("slow", 100_000, 0.0, p99_ms=12.0)], 50.0), BUDGET)
    assert chosen is None
    assert "2 more than p99_ms" in missing


def test_a_smaller_one_that_is_slower_is_chosen_only_where_the_original_is_too_large() -> None:
    best = frontier(
        [measured("slow", 100_000, 0.0, faster=0.1), measured("as fast", 300_000, 0.0, faster=0.9)], 50.0
    )
    assert {one.name for one in best} == {"slow", "as fast"}
    chosen, _ = choose(best, BUDGET)
    assert chosen is not None
    assert chosen.name == "as fast"
    must = replace(BUDGET, must_shrink=True)
    chosen, _ = choose(best, must)
    assert chosen is not None
    assert chosen.name == "slow"
    chosen, missing = choose(best[:1], BUDGET)
    assert chosen is None
    assert "one row takes 10 times as long" in missing
    assert "model_size_mb" in missing


def test_a_loss_of_time_nobody_feels_is_none() -> None:
    slow = measured("slow", 300_000, 0.0, faster=0.5)
    assert [what for what, _ in slow.losses()] == ["one row", "a row among many"]
    # Twice as long, by 5 microseconds a row and as many for 32 rows.
    probed = structs.replace(
        slow.probed, p50_ms=0.01, original_p50_ms=0.005, rows_per_s=3.2e6, original_rows_per_s=6.4e6
    )
    assert structs.replace(slow, probed=probed).losses() == ()


def test_a_candidate_that_cannot_answer_the_asked_rate_is_not_chosen() -> None:
    # 1000 rows a second on each core.
    best = frontier([measured("small", 300_000, 0.0)], 50.0)
    assert choose(best, replace(BUDGET, qps=1900.0, cores=2))[0] is not None
    chosen, missing = choose(best, replace(BUDGET, qps=2100.0, cores=2))
    assert chosen is None
    assert "fewer than qps = 2100" in missing


def test_what_surely_loses_far_more_than_is_allowed_is_hopeless() -> None:
    def judged(loss: float, upper: float) -> Judgement:
        return Judgement(
            metric="share of wrong answers", original=0.1, loss=loss, upper=upper, rows=1000, worst_slices=()
        )

    assert BUDGET.is_hopeless(judged(0.2, 0.23))
    assert not BUDGET.is_hopeless(judged(0.02, 0.03))
    # The bound is so wide that it may lose nothing.
    assert not BUDGET.is_hopeless(judged(0.2, 0.4))


def compress(
    folder: Path, model: Any, monkeypatch: pytest.MonkeyPatch, ways: set[str], memory_mb: int = 1024
) -> tuple[Deployment, CompressReport]:
    inputs, labels = make_classification(5000, 8, n_informative=5, class_sep=1.5, random_state=0)
    frame = pd.DataFrame(inputs.astype(np.float32), columns=[f"f{i}" for i in range(8)])
    model.fit(frame[:1000].to_numpy(), labels[:1000])
    folder.mkdir()
    (folder / "holdfast.toml").write_text(
        '[model]\nname = "sorts"\n[speed]\np99_ms = 5000\ndeadline_ms = 5000\n'
        f"[compute]\nmemory_mb = {memory_mb}\n"
    )
    deployment = Deployment.open(folder, {})
    monkeypatch.setattr(
        compress_running, "WAYS", tuple(way for way in compress_running.WAYS if way[0] in ways)
    )
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        register_model(
            deployment,
            registry,
            model,
            reference=frame[1000:].assign(y=labels[1000:]),
            labels="y",
            clock=clock,
        )
        report = compress_version(deployment, registry, clock, allowed_loss=0.05, actor="test", round_s=0.005)
    return deployment, report


@pytest.mark.slow
def test_a_boosted_ensemble_becomes_a_smaller_challenger_with_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("holdfast.compress.forests._SHARES", (0.5, 0.25))
    model = GradientBoostingClassifier(n_estimators=150, random_state=0)
    deployment, report = compress(tmp_path / "trees", model, monkeypatch, {"trees"})
    assert report.chosen is not None
    assert report.registered == "2"
    chosen = next(one for one in report.frontier if one.name == report.chosen)
    assert chosen.size_ratio <= 0.5
    assert chosen.judgement.upper <= 0.05
    assert chosen.judgement.rows == report.rows_judged_on == 2400
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        assert registry.route().champion == "1"
        old, new = registry.version("1"), registry.version("2")
        (evidence,) = registry.evidence("2", "compression")
    assert evidence.payload["made_of"] == "1"
    artifacts = [open_artifact(deployment.artifacts_folder / one.artifact_folder) for one in (old, new)]
    assert artifacts[0].signature == artifacts[1].signature
    assert artifacts[1].size_bytes == chosen.size_bytes
    draw_frontier(report, tmp_path / "frontier.svg")
    assert (tmp_path / "frontier.svg").stat().st_size > 2000

    # The command says the same, and where the chosen one loses most.
    monkeypatch.setattr("holdfast.compress.compress_version", partial(compress_version, round_s=0.005))
    with pytest.raises(SystemExit) as ended:
        main(["compress", "-C", str(deployment.folder), "--allowed-loss", "0.05", "--no-register"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "would be registered" in said
    assert "loses most where f" in said


def test_a_linear_model_has_nothing_to_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"slim", "half weights", "int8", "trees", "students"}
    _, report = compress(tmp_path / "linear", LogisticRegression(), monkeypatch, ways)
    assert report.frontier == ()
    assert report.registered is None
    assert "nothing is to be gained" in report.missing


def test_a_candidate_that_does_not_run_within_the_memory_limit_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, report = compress(tmp_path / "tight", LogisticRegression(), monkeypatch, {"slim"}, memory_mb=64)
    assert report.frontier == ()
    assert "no candidate could be measured" in report.missing
    assert any("memory_mb = 64" in one.why for one in report.skipped)


@pytest.mark.slow
def test_a_compression_that_was_broken_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.compress.forests._SHARES", (0.5, 0.25))
    probe = Bench.probe
    probed: list[int] = []

    def broken_off_at_the_third(self: Bench, *arguments: Any, **options: Any) -> Probed:
        if len(probed) == 2:
            raise KeyboardInterrupt
        probed.append(1)
        return probe(self, *arguments, **options)

    monkeypatch.setattr(Bench, "probe", broken_off_at_the_third)
    folder = tmp_path / "trees"
    with pytest.raises(KeyboardInterrupt):
        compress(folder, GradientBoostingClassifier(n_estimators=60, random_state=0), monkeypatch, {"trees"})
    monkeypatch.setattr(Bench, "probe", probe)
    deployment = Deployment.open(folder, {})
    assert len(list(deployment.run_folder.glob("compress-*/*.json"))) == 1
    # Nothing is made a second time, and what was measured is not measured again.
    monkeypatch.setattr(compress_running, "_made", lambda *_: pytest.fail("made again"))
    said: list[str] = []
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        report = compress_version(
            deployment, registry, clock, allowed_loss=0.05, actor="test", round_s=0.005, said=said.append
        )
    assert said[0].startswith("going on")
    assert len([line for line in said if line.startswith("measuring")]) == report.tried - 1
    assert report.registered == "2"
    assert not list(deployment.run_folder.glob("compress-*"))
