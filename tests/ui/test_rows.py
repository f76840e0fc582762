"""Raw rows: pages of rows that share a time, and answers of a challenger in shadow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from holdfast.clock import ManualClock, iso_utc
from holdfast.prediction_log import Keeper, SpoolWriter
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.spec.checklist import Privacy
from holdfast.ui.facts import Facts
from holdfast.ui.render import environment
from holdfast.ui.rows import PAGE_ROWS, Search, one, search

T0_US = 1_780_000_000_000_000
AT_ONCE = 130
"""More rows of one time than two pages hold."""


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    deployment = Deployment.open(tmp_path, {})
    clock = ManualClock(T0_US + 1_000_000)
    writer = SpoolWriter(deployment.log_folder, deployment="ward", replica="worker-0", clock=clock)
    redactor = Redactor(Privacy(), None)
    ids = [f"row-{number:03d}" for number in range(AT_ONCE)]
    for version, arm in (("1", "champion"), ("2", "shadow")):
        record = PredictionRecord(
            model_version=version,
            arm=arm,
            prediction_ids=ids,
            times_us=[T0_US] * AT_ONCE,
            latency_us=[250] * AT_ONCE,
            inputs={"amount": np.arange(AT_ONCE, dtype=np.float32)},
            context={},
            prediction=[int(version)] * AT_ONCE,
        )
        writer.append(redactor.redact(record))
    Keeper(deployment.log_folder, clock).run_once()
    writer.close()
    with Registry.open(deployment.registry_url, clock) as registry:
        yield Facts(deployment, registry, clock)


@pytest.mark.parametrize(("version", "rows"), [("1", AT_ONCE), ("", 2 * AT_ONCE)])
def test_going_back_page_by_page_meets_every_row_of_one_time_once(
    facts: Facts, version: str, rows: int
) -> None:
    met: list[tuple[str, str]] = []
    wanted = Search(version=version)
    while True:
        found = search(facts, wanted)
        met += [(row["prediction_id"], row["model_version"]) for row in found.rows]
        if not found.more:
            break
        assert len(found.rows) == PAGE_ROWS
        last = found.rows[-1]
        wanted = Search(
            version=version,
            before=last["time"].isoformat(),
            before_id=last["prediction_id"],
            before_version=last["model_version"],
        )
    assert len(met) == len(set(met)) == rows


def test_a_prediction_is_what_its_caller_got_with_what_challengers_answered_in_shadow_apart(
    facts: Facts,
) -> None:
    found = one(facts, "row-064")
    assert (found.row["model_version"], found.row["prediction"]) == ("1", 1)
    assert [row["model_version"] for row in found.in_shadow] == ["2"]
    near = [row["prediction_id"] for row in found.neighbours]
    assert near == [f"row-{number:03d}" for number in range(59, 70)]
    assert {row["arm"] for row in found.neighbours} == {"champion"}


def test_a_time_without_an_id_goes_back_from_there(facts: Facts) -> None:
    assert search(facts, Search(before=iso_utc(T0_US))).rows == ()
    assert len(search(facts, Search(before=iso_utc(T0_US + 1))).rows) == PAGE_ROWS


def test_a_thumbnail_is_shown_as_a_picture_and_nothing_else_is() -> None:
    template = environment().from_string(
        '{% from "parts.html" import picture_of %}{{ picture_of(name, value) or "text" }}'
    )
    url = "data:image/png;base64,AAAA"

    def shown(name: str, value: object) -> str:
        return template.render(name=name, value=value)

    assert shown("feature_photo_thumbnail", url).startswith(f'<img src="{url}"')
    for name, value in (("input_photo", url), ("feature_photo_brightness", 0.5), ("feature_x", None)):
        assert shown(name, value) == "text"
    assert "<script>" not in shown("feature_x", url + '"><script>')
