"""What retraining brings on real streams: the ready-made trainer every so often, against never.

    uv run python bench/retraining.py elec2

No service and no rollout (`bench/loop.py` has both): on each day a challenger is made of the rows that would
be in train and dev then (labels known, test left out), and answers until the next one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from loop import quality  # type: ignore[import-not-found]  # beside this file
from loop_streams import STREAMS, Stream  # type: ignore[import-not-found]  # beside this file
from pyarrow import parquet
from sklearn.ensemble import HistGradientBoostingClassifier

from holdfast.train import DataSet
from holdfast.train.data_set import DataSetPaths
from holdfast.train.tabular import train

PLANS = {"elec2": (300, 60, 14, 1, 0.5, (1.0, 1.0)), "fraud_handbook": (52, 6, 4, 0, 0.1, (1.0, 9.0))}
"""First day, days between challengers, days of dev and of test, gap, threshold, costs of the two errors."""


def challenger(stream: Stream, day: int, length: int, gap: int, folder: Path) -> Any:
    end = day - stream.label_delay_days - length - gap
    paths = {}
    for name, rows in (
        ("train", stream.rows(0, end - length - gap)),
        ("dev", stream.rows(end - length, end)),
    ):
        table = stream.table(rows)
        table = table.append_column("row_weight", pa.array(np.ones(table.num_rows)))
        paths[name] = str(folder / f"{name}.parquet")
        parquet.write_table(table, paths[name])
    features = tuple(stream.inputs.column_names)
    return train(
        DataSet.open(
            DataSetPaths(
                **paths, features=features, task="binary", classes=(0, 1), positive_class=1, seed=0, cores=1
            )
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stream", choices=sorted(STREAMS))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--quick", action="store_true", help="fewer days or customers")
    chosen = parser.parse_args()
    stream = STREAMS[chosen.stream](chosen.data, quick=chosen.quick)
    begin, every, length, gap, threshold, costs = PLANS[chosen.stream]
    inputs = stream.inputs.to_pandas()
    learnt = stream.rows(0, stream.trained_days)
    first = HistGradientBoostingClassifier(max_iter=100, random_state=0)
    first.fit(inputs.iloc[learnt], stream.truth[learnt])
    asked = stream.rows(begin, stream.days)
    scores = []
    with tempfile.TemporaryDirectory(prefix="holdfast-retraining-") as name:
        for day in range(begin, stream.days, every):
            with contextlib.redirect_stdout(io.StringIO()):  # its progress
                model = challenger(stream, day, length, gap, Path(name))
            answered = stream.rows(day, min(day + every, stream.days))
            scores.append(model.predict_proba(inputs.iloc[answered])[:, 1])
    never = first.predict_proba(inputs.iloc[asked])[:, 1]
    day = (stream.time_us[asked] - stream.time_us[0]) // 86_400_000_000
    found = quality(stream.truth[asked], never, np.concatenate(scores), day, threshold, costs)
    print(json.dumps({"stream": stream.name, "challengers": len(scores), **found}, indent=2))


if __name__ == "__main__":
    main()
