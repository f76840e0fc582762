"""Some of the rows in another unit, as when one of several laboratories changes it."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.monitor import diagnose

ROWS, WINDOW = 4000, "250 rows"


def glucose(seed: int, share: float = 0.0, factor: float = 1.0, spread: float = 1.0) -> dict[str, np.ndarray]:
    """From the middle on a share of the rows times a factor, and spread anew."""
    random = np.random.default_rng(seed)
    values = random.lognormal(np.log(105), 0.25, ROWS)
    other = (np.arange(ROWS) >= ROWS // 2) & (random.random(ROWS) < share)
    anew = factor * 105 * (values / 105) ** spread
    return {"glucose": np.where(other, anew, values), "sodium": random.normal(140, 3, ROWS)}


@pytest.mark.parametrize(
    ("share", "factor", "said"),
    [
        (0.3, 1 / 18.02, "smaller by a factor of 18.02"),
        (0.5, 1000.0, "larger by a factor of 1000"),
    ],
)
def test_a_known_factor_in_a_part_of_the_rows_is_a_fault_of_the_column(
    share: float, factor: float, said: str
) -> None:
    found = diagnose(glucose(1), glucose(2, share, factor), window=WINDOW)
    assert found.kinds == ("data fault",)
    assert said in found.features[0].description
    assert "of rows: another unit?" in found.features[0].description


@pytest.mark.parametrize(
    ("factor", "spread"), [(1 / 30, 1.0), (3.0, 1.0), (1 / 18.02, 0.3), (1 / 18.02, 2.5), (200.0, 1.0)]
)
def test_other_rows_that_no_unit_explains_are_drift(factor: float, spread: float) -> None:
    found = diagnose(glucose(1), glucose(2, 0.3, factor, spread), window=WINDOW)
    assert found.kinds == ("data drift",)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_column_at_the_end_of_all_doubles_has_a_verdict() -> None:
    random = np.random.default_rng(1)
    old, new = 8e307 * random.uniform(-1, 1, 2000), 8e307 * random.uniform(0.5, 2, 2000)
    assert diagnose({"a": old}, {"a": new}, window="200 rows").alarm
