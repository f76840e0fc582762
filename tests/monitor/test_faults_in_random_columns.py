"""Every fault is named as such in columns drawn at random, and no change that is drift is called a fault."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "faults.py"
    spec = importlib.util.spec_from_file_location("bench_faults", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["bench_faults"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = loaded()


@pytest.mark.parametrize("fault", sorted(BENCH.FAULTS))
def test_a_fault_alone_is_named_and_nothing_else_is(fault: str) -> None:
    assert BENCH.named(1001, fault)


@pytest.mark.parametrize("change", sorted(BENCH.CHANGES))
def test_a_change_that_is_no_fault_is_called_drift(change: str) -> None:
    assert BENCH.drift(1002, change)
