"""What holds for the tests of every room."""

from __future__ import annotations

import pytest

from holdfast.compiled import hot_path_is_compiled


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not hot_path_is_compiled():
        return
    skipped = pytest.mark.skip(reason="replaces what the compiled hot path holds for itself")
    for item in items:
        if item.get_closest_marker("interpreted") is not None:
            item.add_marker(skipped)
