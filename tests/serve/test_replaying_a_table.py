"""The page about streaming a table is executed, against a real service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from serve_process import ServeProcess, make_deployment

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "stream-a-table.md"


def test_the_script_of_the_page_plays_a_table_in_its_own_time_with_late_labels(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path / "demo", '[predictions]\ntime_field = "at"\nid_field = "order"\n')
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "replay.py").write_text(block)
    rows = 1300
    at = pd.date_range("2018-05-01", periods=rows, freq="10min")
    table = pd.DataFrame({"order": np.arange(rows), "at": at, "a": np.arange(rows) * 0.5, "b": 1.0})
    table.assign(y=table["a"] * 2).sample(frac=1, random_state=0).to_parquet(tmp_path / "table.parquet")
    with ServeProcess(tmp_path / "demo") as service:
        command = ["replay.py", "table.parquet", "--service", f"127.0.0.1:{service.port}"]
        options = ["--id", "order", "--time", "at", "--label", "y", "--delay", "3D"]
        done = subprocess.run(
            [sys.executable, "-W", "error", *command, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    # Ten days are played, the last in part: the labels of seven days are known, and the first of the eighth.
    assert done.stdout == f"{rows} predictions, {7 * 144 + 1} labels\n", done.stderr
    settle(deployment, SystemClock())
    joined = PredictionLog(deployment).joined().read_all().to_pandas().sort_values("time")
    assert joined["prediction_id"].tolist() == [str(row) for row in range(rows)]
    assert joined["time"].dt.tz_localize(None).tolist() == at.tolist()
    labelled = joined[joined["y"].notna()]
    assert len(labelled) == 7 * 144 + 1
    assert (labelled["observed_at"] - labelled["time"]).unique().tolist() == [pd.Timedelta("3D")]
    assert labelled["y"].astype(float).tolist() == (np.arange(7 * 144 + 1) * 1.0).tolist()
