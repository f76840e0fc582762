"""Tables whose rows come from another supplier every few windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.monitor import diagnose

ROWS, BEFORE, AFTER = 50, 20, 60
SHARES = np.log([0.4, 0.25, 0.15, 0.12, 0.08])


def supplied(seed: int) -> dict[str, Any]:
    """Ten numbers and six categories; each has a supplier of its own for three windows on average."""
    random = np.random.default_rng([71, seed])
    rows = (BEFORE + AFTER) * ROWS

    def supplier() -> Any:
        return np.repeat(np.arange(rows), random.geometric(1 / (3 * ROWS), rows))[:rows]

    numbers = {
        f"x{one}": random.normal(size=rows) + 0.3 * random.normal(size=rows)[supplier()] for one in range(10)
    }
    codes = {}
    for one in range(6):
        level = SHARES + 0.6 * random.normal(size=(rows, len(SHARES)))[supplier()]
        codes[f"c{one}"] = np.array(list("abcde"))[(level + random.gumbel(size=level.shape)).argmax(axis=1)]
    return numbers | codes


def test_suppliers_that_change_as_they_did_in_the_reference_raise_few_alarms() -> None:
    alarms = 0
    for seed in range(3):
        table = supplied(seed)
        old, new = (
            {name: values[part] for name, values in table.items()}
            for part in (slice(BEFORE * ROWS), slice(BEFORE * ROWS, None))
        )
        found = diagnose(old, new, window=f"{ROWS} rows", explain=False)
        alarms += sum(window.alarm for window in found.windows)
    # More than half of the windows, where each cell has to show by itself what its column varies by.
    assert alarms <= 3 * AFTER / 10


def test_means_that_vary_from_window_to_window_are_no_dependence_of_columns() -> None:
    random = np.random.default_rng(72)
    rows, windows = 500, 80
    level = 0.5 * random.normal(size=(windows, 6)).repeat(rows, axis=0)
    table = level + random.normal(size=level.shape)
    old, new = ({f"x{one}": part[:, one] for one in range(6)} for part in np.split(table, [20 * rows]))
    found = diagnose(old, new, window=f"{rows} rows", explain=False)
    assert not any(" ~ " in one.name for one in found.features)
    # A correlation that comes beside it is seen.
    new["x1"] = np.where(
        np.arange(60 * rows) < 30 * rows, new["x1"], new["x1"] + 0.5 * (new["x0"] - level[20 * rows :, 0])
    )
    found = diagnose(old, new, window=f"{rows} rows", explain=False)
    assert "x0 ~ x1" in {one.name for one in found.features}
