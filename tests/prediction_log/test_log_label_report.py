"""Coverage and delay of labels, with values counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, LabelReport, PredictionLog, erase, label_report
from holdfast.spec import Deployment

HOUR_US = 3_600_000_000
DAY_S = 86_400


def report_of(folder: Path, *, age_s: float, maturity_s: float = DAY_S) -> LabelReport:
    return label_report(folder, ManualClock(T0_US + round(age_s * 1e6)), maturity_s=maturity_s)


def fill(folder: Path, labels: list[Label], *, n: int = 10) -> None:
    writer = new_writer(folder)
    writer.append(redacted(ids_of("p", n), times_us=[T0_US] * n))
    writer.append_labels(labels)
    writer.close()
    Keeper(folder, ManualClock(T0_US)).run_once()


def test_every_prediction_is_in_one_class_and_the_curve_is_kaplan_meiers(tmp_path: Path) -> None:
    fill(
        tmp_path,
        [
            Label("p-00000", 1, T0_US + HOUR_US),
            Label("p-00001", 0, T0_US + HOUR_US),
            Label("p-00002", 0, T0_US + 3 * HOUR_US),
            Label("p-00003", 0, T0_US + 40 * HOUR_US),
            Label("p-00004", 0, T0_US - HOUR_US),  # known before it was asked for
            Label("elsewhere", 0, T0_US),
        ],
    )
    report = report_of(tmp_path, age_s=3 * DAY_S)
    assert (report.predictions, report.labelled, report.label_coverage) == (10, 5, 0.5)
    assert (report.mature, report.labelled_in_time, report.late, report.censored) == (10, 4, 1, 5)
    assert report.mature_coverage == 0.4
    assert (report.waiting, report.unknown) == (0, 1)
    shares = {point.delay_s: point.share for point in report.curve}
    assert shares[60] == pytest.approx(0.1)
    assert shares[3600] == pytest.approx(0.3)
    assert shares[4 * 3600] == pytest.approx(0.4)
    assert shares[2 * DAY_S] == pytest.approx(0.5)
    assert report.quantiles_s == {"0.5": 40 * 3600, "0.9": None, "0.95": None, "0.99": None}


def test_younger_predictions_wait_and_do_not_make_the_curve_look_slow(tmp_path: Path) -> None:
    fill(tmp_path, [Label(name, 1, T0_US + HOUR_US) for name in ids_of("p", 10)])
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("young", 90), times_us=[T0_US + 48 * HOUR_US] * 90))
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    report = report_of(tmp_path, age_s=48 * 3600 + 60)
    assert (report.mature, report.waiting, report.mature_coverage) == (10, 90, 1.0)
    # 100 watched for a minute, 10 of them on: all 10 came. The share is 1, not 10 of 100.
    assert {point.delay_s: point.share for point in report.curve}[3600] == 1.0


def test_revisions_are_told_apart(tmp_path: Path) -> None:
    fill(
        tmp_path,
        [
            Label("p-00000", 1, T0_US + HOUR_US),
            Label("p-00000", 0, T0_US + 2 * HOUR_US),  # corrected; it came after one hour all the same
            Label("p-00001", 1, T0_US + HOUR_US),
            Label("p-00001", 1, T0_US + HOUR_US),  # sent again
            Label("p-00002", 1, T0_US + HOUR_US),
            Label("p-00002", None, T0_US + 2 * HOUR_US),  # taken back
        ],
    )
    report = report_of(tmp_path, age_s=DAY_S)
    assert (report.revisions, report.corrected, report.taken_back, report.labelled) == (6, 1, 1, 2)
    assert {point.delay_s: point.share for point in report.curve}[3600] == pytest.approx(0.3)


def test_labels_for_erased_predictions_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, [])
    erase(tmp_path, ManualClock(T0_US), prediction_ids=["p-00000"])
    writer = new_writer(tmp_path)
    writer.append_labels([Label("p-00000", 1, T0_US)])
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    report = report_of(tmp_path, age_s=DAY_S)
    assert (report.predictions, report.refused, report.unknown, report.labelled) == (9, 1, 0, 0)


def test_an_empty_log_has_an_empty_report(tmp_path: Path) -> None:
    report = report_of(tmp_path, age_s=0)
    assert (report.predictions, report.label_coverage, report.mature_coverage) == (0, 0.0, 0.0)
    assert report.quantiles_s["0.5"] is None


def test_maturity_and_the_clock_of_a_replay_come_from_the_checklist(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(
        '[model]\nname = "fraud"\n[predictions]\ntime_field = "t"\n[monitoring]\nlabel_delay = "2h"\n'
    )
    deployment = Deployment.open(tmp_path, {})
    fill(deployment.log_folder, [Label("p-00000", 1, T0_US + 3 * HOUR_US)])
    report = label_report(deployment, ManualClock(T0_US + 10**15))
    assert report.as_of_us == T0_US + 3 * HOUR_US
    assert (report.maturity_s, report.mature, report.late) == (7200, 10, 1)


def test_at_the_age_of_maturity_a_prediction_is_mature_and_a_label_in_time(tmp_path: Path) -> None:
    day_us = DAY_S * 1_000_000
    fill(tmp_path, [Label("p-00000", 1, T0_US + day_us), Label("p-00001", 1, T0_US + day_us + 1)])
    report = report_of(tmp_path, age_s=DAY_S)
    assert (report.mature, report.waiting) == (10, 0)
    later = report_of(tmp_path, age_s=2 * DAY_S)
    assert (later.mature, later.labelled_in_time, later.late) == (10, 1, 1)


def test_copies_for_a_challenger_and_predictions_of_a_time_to_come_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, [Label("p-00000", 1, T0_US + HOUR_US)])
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("p", 10), times_us=[T0_US] * 10, arm="shadow"))
    writer.append(redacted(ids_of("ahead", 5), times_us=[T0_US + 90 * HOUR_US] * 5))
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    report = report_of(tmp_path, age_s=2 * DAY_S)
    assert (report.predictions, report.labelled, report.censored, report.waiting) == (10, 1, 9, 0)


def test_a_young_prediction_that_has_its_label_does_not_wait(tmp_path: Path) -> None:
    fill(tmp_path, [Label("p-00000", 1, T0_US + HOUR_US)])
    report = report_of(tmp_path, age_s=2 * 3600)
    assert (report.mature, report.waiting, report.labelled) == (0, 9, 1)


def test_a_label_that_was_empty_at_first_came_when_it_had_a_value(tmp_path: Path) -> None:
    fill(tmp_path, [Label("p-00000", None, T0_US + HOUR_US), Label("p-00000", 1, T0_US + 3 * HOUR_US)])
    report = report_of(tmp_path, age_s=2 * DAY_S)
    assert {point.delay_s: point.share for point in report.curve}[3600] == 0
    assert {point.delay_s: point.share for point in report.curve}[4 * 3600] == pytest.approx(0.1)


def test_of_labels_observed_at_once_the_one_that_came_last_counts_whoever_took_it(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    fill(tmp_path, [])
    first, second = (new_writer(tmp_path, clock, replica=name) for name in ("first", "second"))
    first.append_labels([Label(name, 1, T0_US) for name in ids_of("p", 3)])
    clock.advance_s(1)
    second.append_labels([Label("p-00002", None, T0_US)])  # its number there is smaller
    for writer in (first, second):
        writer.close()
    Keeper(tmp_path, clock).run_once()
    report = report_of(tmp_path, age_s=DAY_S)
    assert (report.labelled, report.taken_back) == (2, 1)
    assert PredictionLog(tmp_path).count().labels == 2
