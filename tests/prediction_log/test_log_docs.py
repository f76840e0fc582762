"""The page about reading the log is executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_records import ids_of, new_writer, redacted

from holdfast.clock import SystemClock
from holdfast.prediction_log import Label
from holdfast.prediction_log.blocks import BlockHead, Close, Counters, Header, LabelBlock, PredictionBlock
from holdfast.prediction_log.schema import LABELS, PREDICTIONS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_block_of_python_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SystemClock()
    (tmp_path / "fraud").mkdir()
    (tmp_path / "fraud" / "holdfast.toml").write_text('[model]\nname = "fraud"\n')
    writer = new_writer(tmp_path / "fraud" / "log", clock)
    writer.append(redacted(ids_of("a", 3), probabilities=np.full((3, 2), 0.5)))
    writer.append_labels([Label("a-00000", 1, clock.now_us())])
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "how-to" / "read-the-prediction-log.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert len(names["frame"]) == len(names["newest"]) == 3
    assert names["report"].ok
    printed = capsys.readouterr().out
    assert "Counts(predictions=3, labels=1" in printed
    assert "True 3 0" in printed


def test_the_format_page_names_every_column_and_every_field() -> None:
    page = (DOCS / "reference" / "log-format.md").read_text()
    for name in [*PREDICTIONS.names, *LABELS.names]:
        assert f"`{name}`" in page, name
    for struct in (BlockHead, Close, Counters, Header, LabelBlock, PredictionBlock):
        for name in struct.__struct_fields__:
            assert f"`{name}`" in page, (struct.__name__, name)
