"""A candidate that cannot be measured leaves the others alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.artifact import Execution
from holdfast.compress import bench
from holdfast.compress.errors import CompressError
from holdfast.spec import Compute


def test_a_candidate_that_takes_too_long_is_refused_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_PROBE_S", 0.01)
    known: Any = SimpleNamespace(execution=Execution(), model_file=tmp_path / "model.onnx")
    measuring = bench.Bench(tmp_path, known, Compute(), cores=(), round_s=0.1)
    with pytest.raises(CompressError, match="did not end"):
        measuring.probe(b"a graph", known)
