"""What a change that comes and goes has done is told of the times when it stood."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_worlds import NAMES, WINDOW, WINDOWS, answered, inputs, reference

from holdfast.monitor import Diagnosis, diagnose

LONG = 2 * WINDOWS
NUMBER = np.arange(LONG * WINDOW) // WINDOW
STOOD = ((NUMBER >= 8) & (NUMBER < 16)) | ((NUMBER >= 28) & (NUMBER < 36))


@pytest.fixture(scope="module")
def labelled() -> dict[str, np.ndarray]:
    """Rows whose mapping turns twice, for eight windows each."""
    return answered(inputs(3, LONG), 3, effect=np.where(STOOD, -1.0, 1.0))


@pytest.fixture(scope="module")
def found(labelled: dict[str, np.ndarray]) -> Diagnosis:
    return diagnose(reference(3), labelled, **NAMES)


def test_quality_since_the_onset_leaves_the_pauses_out(
    found: Diagnosis, labelled: dict[str, np.ndarray]
) -> None:
    assert found.shape == "recurring"
    assert found.quality is not None
    assert found.quality.after is not None
    assert found.quality.after.rows == STOOD.sum()
    realised = roc_auc_score(labelled["y"][STOOD], labelled["score"][STOOD])
    assert found.quality.after.value == pytest.approx(realised, abs=0.01)


def test_the_cost_so_far_is_that_of_the_rows_while_it_stood(
    found: Diagnosis, labelled: dict[str, np.ndarray]
) -> None:
    assert found.cost is not None
    assert found.cost.rows == STOOD.sum()
    wrong = (labelled["score"] >= 0.5) != labelled["y"]
    more = wrong[STOOD].mean() - wrong[~STOOD].mean()
    assert found.cost.per_row.low <= more <= found.cost.per_row.high


def test_estimated_quality_and_measures_leave_the_pauses_out() -> None:
    moved = inputs(4, LONG)
    moved["age"] = np.where(STOOD, 0.4 * moved["age"], moved["age"])
    current = answered(moved, 4)
    found = diagnose(reference(4), {name: current[name] for name in current if name != "y"}, **NAMES)
    assert found.shape == "recurring"
    realised = roc_auc_score(current["y"][STOOD], current["score"][STOOD])
    after = found.estimated[0].after
    assert after is not None
    assert after.low <= realised <= after.high
    age = next(one for one in found.measures if one.name == "age")
    assert age.psi is not None
    assert age.psi > 0.4
