"""What holds for the tests of every room."""

from __future__ import annotations

import pytest
from hypothesis import settings

from holdfast.compiled import hot_path_is_compiled

# No test fails for its time: how long an example takes says more of what else the machine does.
settings.register_profile("holdfast", deadline=None)
settings.load_profile("holdfast")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not hot_path_is_compiled():
        return
    skipped = pytest.mark.skip(reason="replaces what the compiled hot path holds for itself")
    for item in items:
        if item.get_closest_marker("interpreted") is not None:
            item.add_marker(skipped)
