"""Models of LightGBM and XGBoost, and of several answers a row: what is said of what they cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from registering import Place, frame
from sklearn.linear_model import LinearRegression
from xgboost import XGBClassifier

from holdfast.artifact import ArtifactError, ReferenceDataError, open_artifact


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.registry.close()


def test_columns_in_which_lightgbm_puts_underscores_for_spaces_are_found(place: Place) -> None:
    rows = frame(120).rename(columns={"amount": "amount in €", "hour": "time of day"})
    rows["time of day"] = pd.Categorical(np.where(rows["time of day"] < 12, "früh", "spät"))
    asked = rows[["time of day", "amount in €"]]
    model = LGBMClassifier(n_estimators=3, min_child_samples=5, verbose=-1).fit(asked, rows["fraud"])
    version = place.register(model, reference=asked)
    signature = open_artifact(place.folder(version)).signature
    assert [column.name for column in signature.columns] == list(asked.columns)
    assert signature.columns[0].categories == ("früh", "spät")


@pytest.mark.parametrize("made", ["lightgbm", "xgboost"])
def test_text_for_codes_and_codes_for_text_are_refused_with_what_to_give(place: Place, made: str) -> None:
    rows = frame(120)
    texts = pd.DataFrame({"part": np.where(rows.hour < 12, "early", "late"), "amount": rows.amount})
    grouped = texts.astype({"part": "category"})
    codes = texts.assign(part=grouped["part"].cat.codes)
    known = (rows.fraud == "yes").astype(int)
    model: Any = (
        LGBMClassifier(n_estimators=3, verbose=-1)
        if made == "lightgbm"
        else XGBClassifier(n_estimators=3, enable_categorical=True)
    )
    model.fit(grouped, known)
    if made == "lightgbm":
        with pytest.raises(ReferenceDataError, match=r"^part: the column holds numbers.*not their codes$"):
            place.register(model, reference=codes)
    else:
        with pytest.raises(ReferenceDataError) as refused:
            place.register(model, reference=codes)
        assert "Stack trace" not in str(refused.value)
        with pytest.raises(ReferenceDataError, match=r"'part' holds text.*give the codes"):
            place.register(XGBClassifier(n_estimators=3).fit(codes, known), reference=texts)


def test_a_model_of_several_numbers_is_refused_as_such(place: Place) -> None:
    rows = frame(120)[["amount", "hour"]]
    with pytest.raises(ArtifactError, match=r"several numbers for each row.* received 2"):
        place.register(LinearRegression().fit(rows, rows), reference=rows)
