"""Streams whose changes are known, in episodes: a reference, a quiet stretch, and what follows a change.

Each detector is shown the same rows of an episode, and the same model's answers, fitted on the first half of
the reference; the second half is what the detector may learn from. Files are read from a folder, by default
`../shared/data`; what is absent is left out, with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, csv, parquet


@dataclass(frozen=True)
class Episode:
    """One change to be found, or none."""

    name: str
    group: str
    reference: pa.Table
    """Half of it is for the model to be fitted on."""
    current: pa.Table
    change: int | None
    """Row of `current` with which it begins; None: nothing changes."""
    settled: int
    """Row of `current` by which the change is complete: what comes before counts as neither."""
    window: int
    target: str | None = None
    task: str = "binary"
    time: str | None = None
    quiet_known: bool = True
    """Whether the rows before the change are known to be quiet: real ones may drift in ways nobody noted."""
    apart: tuple[str, ...] = field(default=())
    """Columns that no detector is shown."""


def episodes(data: Path, report: Callable[[str], None] = print) -> Iterator[Episode]:
    """All of them, in order of their files."""
    for name, make in SOURCES.items():
        if not (data / name).is_dir():
            report(f"left out: {name} (there is no {data / name})")
            continue
        yield from make(data / name)


def segments(
    name: str, group: str, table: pa.Table, *, concepts: list[tuple[int, int]], target: str, window: int
) -> Iterator[Episode]:
    """An episode for each pair of neighbouring concepts, whose rows are given.

    The reference is the first six tenths of a concept; what lies between two of them is the transition.
    """
    for number, ((low, high), (begin, end)) in enumerate(pairwise(concepts)):
        cut = low + (high - low) * 6 // 10
        yield Episode(
            f"{name} {number + 1}",
            group,
            table.slice(low, cut - low),
            table.slice(cut, end - cut),
            high - cut,
            begin - cut,
            window,
            target,
        )
        # The first concept alone: nothing changes.
        if number == 0:
            middle = low + (high - low) // 2
            yield Episode(
                f"{name} quiet", group, table.slice(low, middle - low), table.slice(middle, high - middle),
                None, 0, window, target,
            )  # fmt: skip


def harvard(folder: Path) -> Iterator[Episode]:
    truth = json.loads((folder / "truth.json").read_text())
    for path in sorted(folder.glob("*.parquet")):
        kind = "*_gradual" if "gradual" in path.stem else "*_abrupto"
        if kind == "*_gradual":
            spans = truth[kind]["transitions"]
        else:
            spans = [(point, point) for point in truth[kind]["change_points"]]
        # A model's error doubles some 100 rows before a gradual transition is said to begin: what lies within
        # 250 rows before it counts as neither quiet nor changed.
        early = 250 if kind == "*_gradual" else 0
        starts = [0, *(end for _, end in spans)]
        ends = [*(start - early for start, _ in spans), truth[kind]["rows"]]
        yield from segments(
            path.stem, "harvard_synthetic", parquet.read_table(path),
            concepts=list(zip(starts, ends, strict=True)), target="class", window=200,
        )  # fmt: skip


def sea(folder: Path) -> Iterator[Episode]:
    truth = json.loads((folder / "truth.json").read_text())
    bounds = [0, *truth["change_points"], truth["rows"]]
    yield from segments(
        "sea", "sea_abrupt", csv.read_csv(folder / "sea.csv"),
        concepts=list(pairwise(bounds)), target="class", window=250,
    )  # fmt: skip


def usenet(folder: Path) -> Iterator[Episode]:
    table = csv.read_csv(folder / "usenet1.csv")
    bounds = list(range(0, 1501, 300))
    yield from segments(
        "usenet1", "usenet", table, concepts=list(pairwise(bounds)),
        target=table.column_names[-1], window=50,
    )  # fmt: skip


def elec2(folder: Path) -> Iterator[Episode]:
    truth = json.loads((folder / "truth.json").read_text())
    table = csv.read_csv(folder / "elec2.csv")
    start = np.datetime64(truth["start"].replace(" ", "T"), "us")
    moments = start + np.arange(len(table)) * np.timedelta64(1800, "s")
    table = table.drop_columns(["date"]).append_column("moment", pa.array(moments))
    half, broken, week = 52 * 336 // 2, truth["known_break_row"], 336
    yield Episode(
        "elec2", "elec2", table.slice(0, half), table.slice(half, broken + 8 * week - half), broken - half,
        broken - half, week, "class", time="moment", quiet_known=False,
    )  # fmt: skip


def nab(folder: Path) -> Iterator[Episode]:
    """Anomalies of one number each; the first 15 % are free of them, as the benchmark's own probation."""
    truth = json.loads((folder / "labels" / "combined_windows.json").read_text())
    for path in sorted(folder.glob("*/*.csv")):
        spans = truth.get(f"{path.parent.name}/{path.name}", [])
        table = csv.read_csv(path)
        time = table.column("timestamp").cast(pa.timestamp("us")).to_numpy()
        free = len(table) * 3 // 10
        first = [int(np.searchsorted(time, np.datetime64(low.replace(" ", "T")))) for low, _ in spans]
        if first and first[0] < len(table) * 15 // 100:
            continue
        free = min(free, first[0]) if first else free
        table = table.set_column(0, "timestamp", pa.array(time))
        end = (
            int(np.searchsorted(time, np.datetime64(spans[0][1].replace(" ", "T")))) if spans else len(table)
        )
        yield Episode(
            f"nab {path.stem}", "nab", table.slice(0, free), table.slice(free, end - free),
            first[0] - free if first else None, first[0] - free if first else 0,
            max(50, len(table) // 80), time="timestamp",
            quiet_known=True,
        )  # fmt: skip


def bikes(folder: Path) -> Iterator[Episode]:
    table = csv.read_csv(folder / "hour.csv")
    day = table.column("dteday").cast(pa.timestamp("us")).to_numpy()
    moment = day + table.column("hr").to_numpy() * np.timedelta64(3_600_000_000, "us")
    table = table.drop_columns(["instant", "dteday", "yr", "casual", "registered"])
    table = table.append_column("moment", pa.array(moment))
    year = int(np.searchsorted(moment, np.datetime64("2012-01-01T00:00:00")))
    yield Episode(
        "bikes", "bike_sharing", table.slice(0, year), table.slice(year, 13 * 168), 0, 0, 168, "cnt",
        task="regression", time="moment", quiet_known=False,
    )  # fmt: skip


def fraud(folder: Path) -> Iterator[Episode]:
    """The rate's rise in April; June as quiet as May; and kinds of fraud that end in the middle of June."""
    table = parquet.read_table(next(folder.glob("*.parquet")))
    table = table.set_column(
        table.column_names.index("TX_DATETIME"),
        "TX_DATETIME",
        table.column("TX_DATETIME").cast(pa.timestamp("us")),
    )
    time = table.column("TX_DATETIME").to_numpy()

    apart = ("TRANSACTION_ID", "TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS")
    per_day = len(table) // 91
    common: dict[str, Any] = {"window": per_day, "target": "TX_FRAUD", "time": "TX_DATETIME", "apart": apart}

    def part(low: str, high: str, of: pa.Table = table) -> pa.Table:
        column = of.column("TX_DATETIME")
        inside = compute.and_(
            compute.greater_equal(column, pa.scalar(np.datetime64(low, "us"))),
            compute.less(column, pa.scalar(np.datetime64(high, "us"))),
        )
        return of.filter(inside)

    yield Episode(
        "fraud April ramp", "fraud_handbook", part("2018-04-01", "2018-04-09"),
        part("2018-04-09", "2018-06-01"), 0, 0, **common,
    )  # fmt: skip
    reference = part("2018-05-01", "2018-06-01")
    yield Episode(
        "fraud quiet", "fraud_handbook", reference, part("2018-06-01", "2018-07-01"), None, 0, **common
    )
    scenario = table.column("TX_FRAUD_SCENARIO")
    late = pa.array(time >= np.datetime64("2018-06-12"))
    change = len(part("2018-06-01", "2018-06-12"))
    for number in (2, 3):
        ended = table.filter(compute.invert(compute.and_(late, compute.equal(scenario, number))))
        yield Episode(
            f"fraud scenario {number} ends", "fraud_handbook", reference,
            part("2018-06-01", "2018-07-01", ended), change, change, **common,
        )  # fmt: skip


SOURCES: dict[str, Callable[[Path], Iterator[Episode]]] = {
    "harvard_synthetic": harvard,
    "sea_abrupt": sea,
    "usenet": usenet,
    "elec2": elec2,
    "nab": nab,
    "bike_sharing": bikes,
    "fraud_handbook": fraud,
}


def with_model(episode: Episode) -> tuple[pa.Table, pa.Table]:
    """The second half of the reference and the current rows, each with the model's answer for each row.

    The model is fitted on the first half. `score` is the probability of the positive class, or the number
    foretold; `error` is whether the answer is wrong, or by how much.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    shown = [name for name in episode.reference.column_names if name not in episode.apart]
    reference, current = episode.reference.select(shown), episode.current.select(shown)
    if episode.target is None:
        return reference, current
    half = len(reference) // 2
    inputs = [name for name in shown if name not in (episode.target, episode.time)]

    def design(table: pa.Table) -> NDArray[np.float64]:
        return np.column_stack([table.column(name).to_numpy().astype(float) for name in inputs])

    truth, now = (np.asarray(table.column(episode.target).to_pylist()) for table in (reference, current))
    maker = HistGradientBoostingRegressor if episode.task == "regression" else HistGradientBoostingClassifier
    parts = []
    with threadpool_limits(1):
        model = maker(random_state=0, max_iter=60).fit(design(reference.slice(0, half)), truth[:half])
        for table, wanted in ((reference.slice(half), truth[half:]), (current, now)):
            x = design(table)
            said = model.predict(x)
            if episode.task == "regression":
                score, error = said, np.abs(said - wanted)
            else:
                score, error = model.predict_proba(x)[:, 1], (said != wanted).astype(float)
            parts.append(
                table.append_column("score", pa.array(score))
                .append_column("said", pa.array(said))
                .append_column("error", pa.array(error))
            )
    return parts[0], parts[1]
