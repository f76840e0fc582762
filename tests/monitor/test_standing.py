"""Which alarms of a family count once all windows are known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.monitor.standing import _stands


@pytest.mark.parametrize(
    ("strength", "stands"),
    [
        ([0.5, 0.9, 0.5, 0.5], False),
        ([0.5, 1.1, 1.1, 0.5], False),  # brief, weak and over
        ([1.1, 1.1, 1.1, 0.5], True),  # it lasted
        ([0.5, 0.5, 0.5, 1.1], True),  # it may last
        ([0.5, 1.3, 0.5, 0.5], True),  # it was clear
    ],
)
def test_an_alarm_counts_where_it_lasts_is_clear_or_is_not_over(strength: list[float], stands: bool) -> None:
    assert _stands(np.array(strength)[:, None]).tolist() == [stands]
