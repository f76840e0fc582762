"""A year of hourly windows, judged from stored profiles.

    uv run python bench/year.py --quick --json

8760 windows of 200 rows and 200 numeric columns (a tenth of the windows with --quick), of which one column
moves by 0.3 standard deviations in the middle; a reference of one week. Profiles are made and stored first,
outside the clock; then a process of its own reads them all and gives the verdict.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from profile import peak_kb  # type: ignore[attr-defined]  # the bench beside, not the library's

import numpy as np

from holdfast.monitor.judge import Settings, judge
from holdfast.monitor.profile_store import ProfileStore
from holdfast.monitor.profiling import profiles
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rows import Rows

HOUR_US, WEEK, ROWS, DAY = 3_600_000_000, 168, 200, 24
RUN_LENGTH = 100_000.0
"""Windows: a year of hours with a budget of 1 per 1000 would hold nine false alarms."""


def rows(first: int, windows: int, columns: int, moved: float = 0.0) -> Rows:
    random = np.random.default_rng([first, windows])
    number = windows * ROWS
    values = {f"f{column}": random.normal(size=number) for column in range(columns)}
    values["f7"] += moved
    return Rows(values, first * HOUR_US + np.arange(number) * (HOUR_US // ROWS))


def stretches(first: int, windows: int) -> list[tuple[int, int, slice]]:
    return [
        ((first + one) * HOUR_US, (first + one + 1) * HOUR_US, slice(one * ROWS, (one + 1) * ROWS))
        for one in range(windows)
    ]


def reference(columns: int) -> ReferenceModel:
    return ReferenceModel.fit("none", rows(0, WEEK, columns), stretches(0, WEEK))


def store(folder: Path, windows: int, columns: int) -> None:
    model, kept = reference(columns), ProfileStore(folder)
    for first in range(0, windows, DAY):
        moved = 0.3 if first >= windows // 2 else 0.0
        day = rows(WEEK + first, DAY, columns, moved)
        for profile in profiles(model.measures, day, stretches(WEEK + first, DAY)):
            kept.put(profile)


def judged(folder: Path, columns: int) -> dict[str, object]:
    model = reference(columns)
    before_kb = peak_kb()
    wall, cpu = time.perf_counter(), time.process_time()
    windows = ProfileStore(folder).read()
    read_s = time.perf_counter() - wall
    found = judge(model, windows, Settings(RUN_LENGTH, 0.05, str, lambda _: False))
    return {
        "windows": len(windows),
        "columns": columns,
        "read_s": round(read_s, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "extra_peak_mb": round((peak_kb() - before_kb) / 1024),
        "verdict": found.verdict,
        "found": [one.name for one in found.features][:5],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of a year")
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        print(json.dumps(judged(arguments.folder, arguments.columns)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), 876 if arguments.quick else 8760, arguments.columns)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        command = [sys.executable, __file__, "--folder", folder, "--columns", str(arguments.columns)]
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    print(json.dumps(answer | {"stored_mb": round(size / 1e6, 1)}, indent=2 if arguments.json else None))


if __name__ == "__main__":
    main()
