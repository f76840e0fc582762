"""Tables as others write them: classes, types, indices and empty columns that a comparison must survive."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast.monitor import MonitorError, diagnose
from holdfast.monitor.stand_in import few_classes
from holdfast.monitor.windows import propose_window

ROWS = 1200


def table(seed: int) -> pd.DataFrame:
    random = np.random.default_rng([45, seed])
    weight = random.lognormal(size=ROWS)
    return pd.DataFrame(
        {
            "Betrag (€)": weight,
            "class": random.choice(["rot", "grün"], ROWS),
            "1": random.integers(0, 5, ROWS),
            "bezahlt": random.random(ROWS) < weight / (1 + weight),
        }
    )


def judged(old: pd.DataFrame, new: pd.DataFrame, target: str | None = "bezahlt", **more: Any) -> Any:
    return diagnose(old, new, target=target, explain=False, **more)


@pytest.mark.parametrize("written", ["True", "1.0", " true "])
def test_a_class_is_the_same_however_a_file_writes_it(written: str) -> None:
    new = table(2)
    other = {"True": "False", "1.0": "0.0", " true ": "false"}[written]
    new["bezahlt"] = np.where(new["bezahlt"], written, other)
    assert judged(table(1), new).verdict == "healthy"


def test_labels_of_strange_classes_are_refused_where_all_are_and_named_where_some_are() -> None:
    old, new = table(1), table(2)
    new["bezahlt"] = np.where(new["bezahlt"], "gezahlt", "offen")
    with pytest.raises(MonitorError, match=r"current\.bezahlt: no label is one of the reference's classes"):
        judged(old, new)
    new["bezahlt"] = table(2)["bezahlt"].astype(int)
    new.loc[::3, "bezahlt"] = 7
    found = judged(old, new)
    assert found.verdict == "healthy"
    assert found.coverage.labelled == ROWS * 2 // 3
    assert any("400 rows are labelled '7'" in note for note in found.notes)


def test_columns_without_any_finite_value_do_not_stop_a_stand_in() -> None:
    tables = [table(seed).assign(leer=None, nan=np.nan, inf=np.inf) for seed in (1, 2)]
    assert judged(*tables).verdict == "healthy"


def test_bytes_are_categories_and_periods_are_moments() -> None:
    tables = [
        table(seed).assign(
            roh=[b"abc" if one else b"\xff\x00" for one in table(seed)["bezahlt"]],
            monat=pd.period_range("2024-01-01", periods=ROWS, freq="h"),
        )
        for seed in (1, 2)
    ]
    found = judged(*tables)
    assert found.verdict == "healthy"
    assert any("'monat' is taken as the time" in note for note in found.notes)


def test_sparse_columns_and_names_that_are_numbers_are_read_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    tables = []
    for seed, rare in ((1, 0.05), (2, 0.25)):
        drawn = (np.random.default_rng([46, seed]).random(ROWS) < rare).astype(float)
        tables.append(table(seed).assign(spärlich=pd.arrays.SparseArray(drawn)).rename(columns={"1": 7}))
    found = judged(*tables)
    assert found.verdict == "data drift"
    assert found.features[0].name == "spärlich"
    assert not recwarn.list


def test_a_verdict_at_a_prompt_is_one_line_of_any_number_of_columns() -> None:
    random = np.random.default_rng(47)
    old = pd.DataFrame(random.normal(size=(ROWS, 40)))
    found = diagnose(old, old.sample(frac=1.0, random_state=1) + 1.0, explain=False)
    assert repr(found).startswith("Diagnosis(verdict='data drift', shape=")
    assert repr(found).endswith(f"'...'], windows={len(found.windows)}, rows={ROWS})")
    assert len(found.features) == 40
    assert len(repr(found)) < 300


def test_the_numbers_of_shuffled_rows_are_no_column() -> None:
    old, new = (table(seed).sample(frac=1, random_state=0) for seed in (1, 2))
    assert not any("__index_level_0__" in note for note in judged(old, new).notes)


def test_a_moment_that_some_rows_lack_is_not_taken_as_their_time() -> None:
    old, new = table(1), table(2)
    for one in (old, new):
        one["entlassen"] = pd.date_range("2024-01-01", periods=ROWS, freq="h")
        one.loc[5, "entlassen"] = pd.NaT
    assert not any("taken as the time" in note for note in judged(old, new).notes)
    with pytest.raises(MonitorError, match="1 of 1200 rows without a time"):
        judged(old, new, time="entlassen")


def test_decimals_are_numbers_to_predict() -> None:
    old, new = (
        table(seed).assign(preis=[Decimal(f"{one:.2f}") for one in table(seed)["Betrag (€)"]])
        for seed in (1, 2)
    )
    found = judged(old, new, target="preis")
    assert found.quality.metric == "mean absolute error"


def test_the_reference_shown_again_is_healthy_though_a_stand_in_knows_its_rows() -> None:
    found = judged(table(1), table(1))
    assert found.verdict == "healthy"
    assert any(
        "1200 current rows are rows of the reference too: scored by other models" in note
        for note in found.notes
    )


def test_many_classes_cost_a_stand_in_no_more_than_twenty() -> None:
    truth = np.r_[np.repeat(np.arange(150.0), 4), np.zeros(50), np.nan]
    old, new = few_classes(truth, np.array([0.0, 149.0, -1.0]))
    assert len(np.unique(old[np.isfinite(old)])) == 20
    assert np.isnan(old[-1])
    assert new[0] == 0
    assert new[1] in old
    assert new[2] == -1


def test_the_class_that_a_score_speaks_of_is_the_one_with_the_higher_scores() -> None:
    old, new = (
        table(seed).assign(
            ergebnis=np.where(table(seed)["bezahlt"], "Betrug", "ok"), s=table(seed)["Betrag (€)"]
        )
        for seed in (1, 2)
    )
    found = judged(old, new, target="ergebnis", score="s")
    assert any(note.startswith("'Betrug' is taken as the positive class") for note in found.notes)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"target": "Bezahlt"}, "Did you mean 'bezahlt'"),
        ({"score": "bezahlt"}, "the score is the target itself"),
        ({"score": "leer"}, "the reference has no score"),
        ({"window": "daily"}, 'window: a setting cannot be read; expected a window such as "1d"'),
        ({"false_alarms": "few"}, "false_alarms: a setting cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(more: dict[str, str], says: str) -> None:
    old, new = (table(seed).assign(leer=np.nan) for seed in (1, 2))
    with pytest.raises(MonitorError, match=says):
        judged(old, new, **{"target": "bezahlt", **more})


def test_a_target_alone_is_refused_with_what_to_do() -> None:
    old, new = (table(seed)[["bezahlt"]] for seed in (1, 2))
    with pytest.raises(MonitorError, match="has no column to judge"):
        judged(old, new)


def test_the_length_proposed_for_windows_is_the_nearest_of_a_clock() -> None:
    day_us = 86_400_000_000
    six_weeks = np.arange(3000) * (42 * day_us // 3000)
    # Twenty would be of two days: weeks would be six of them.
    assert str(propose_window(len(six_weeks), six_weeks)) == "1d"


@pytest.mark.parametrize(
    ("factor", "said"), [(18.02, "larger by a factor of 18.02"), (1 / 18.02, "smaller by a factor of 18.02")]
)
def test_a_laboratory_that_changes_its_unit_is_a_fault_of_the_column(factor: float, said: str) -> None:
    new = table(2)
    new.loc[new.index >= ROWS // 2, "Betrag (€)"] *= factor
    found = judged(table(1), new)
    assert found.kinds == ("data fault",)
    assert said in found.features[0].description
    assert "another unit" in found.features[0].description


def test_swapped_columns_are_no_concept_drift_of_a_stand_in_that_was_shown_them() -> None:
    tables = [table(seed) for seed in (1, 2)]
    for seed, one in enumerate(tables):
        one["zweite"] = 100 + np.random.default_rng([7, seed]).normal(size=ROWS)
    new = tables[1]
    late, two = new.index >= ROWS // 2, ["Betrag (€)", "zweite"]
    new.loc[late, two] = new.loc[late, two[::-1]].to_numpy()
    found = judged(*tables)
    assert found.kinds == ("data fault",)
    assert {one.name for one in found.features} == set(two)
