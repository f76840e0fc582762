"""Real streams in order of time for `bench/loop.py`: features, truth, time, and when the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

DAY_US = 86_400_000_000
MONTH_DAYS = 30


@dataclass(frozen=True)
class Stream:
    name: str
    inputs: pa.Table
    truth: np.ndarray[Any, Any]
    time_us: np.ndarray[Any, Any]
    label_delay_days: int
    trained_days: int
    """The first model learns from the days before this one."""
    live_day: int
    """Days from `trained_days` to here are its reference; then it is in production."""
    change_day: int | None
    """Where something is known to change."""
    chunk_days: int
    """Between two looks of the monitor."""
    label_days: float
    """Between two looks of an open rollout: labels come this often."""
    wrong_day: int
    """From here on nothing is learnt any more: a challenger of shuffled labels is tried."""
    checklist: str
    days: int

    def rows(self, first_day: float, end_day: float) -> slice:
        day = (self.time_us - self.time_us[0] // DAY_US * DAY_US) / DAY_US
        first, end = np.searchsorted(day, [first_day, end_day])
        return slice(int(first), int(end))

    def table(self, rows: slice) -> pa.Table:
        part = self.inputs.slice(rows.start, rows.stop - rows.start)
        part = part.append_column("label", pa.array(self.truth[rows]))
        return part.append_column("time", pa.array(self.time_us[rows], pa.timestamp("us", tz="UTC")))


COMMON = """\
[predictions]
time_field = "time"

[speed]
p99_ms = 1000        # client, service, keeper and policy share this machine
deadline_ms = 5000

[logging]
commit_interval = "250ms"

[rollout]
shadow = "1s"        # the stream's weeks pass in seconds; maturity counts in the stream's own time
step = "1s"
fast_interval = "250ms"
label_interval = "500ms"
max_flips = 0.6      # the world has moved, so many answers must
max_volume_change = 0.6
"""


def elec2(data: Path, *, quick: bool) -> Stream:
    """Two and a half years of half hours: will the price of electricity be above its daily mean?

    From day 363 on three columns that had been constant are live.
    """
    table = pd.read_csv(data / "elec2" / "elec2.csv")
    # The date column goes back in this file: the number of the row is the time.
    start_us = int(pd.Timestamp("1996-05-07", tz="UTC").timestamp()) * 1_000_000
    time_us = start_us + np.arange(len(table), dtype=np.int64) * 30 * 60_000_000
    return Stream(
        name="elec2",
        inputs=pa.Table.from_pandas(
            table.drop(columns=["date", "class"]).astype(float), preserve_index=False
        ),
        truth=(table["class"] == "UP").to_numpy().astype(np.int64),
        time_us=time_us,
        label_delay_days=1,
        trained_days=150,
        live_day=270 if quick else 181,
        change_day=17424 // 48,
        chunk_days=14,
        label_days=2,
        wrong_day=520 if quick else 870,
        checklist='[model]\nname = "elec2"\n'
        + COMMON
        + """
ramp = [0.1, 1.0]    # with 48 rows a day a step between would last two weeks more
[monitoring]
window = "7d"
label_delay = "1d"

[training]
sources = ["log", "sources/history.toml"]
dev = "14d"
test = "14d"
refit = true         # the newest weeks teach most
triggers = ["alarm", "schedule"]
schedule = "28d"
cool_down = "28d"
""",
        days=600 if quick else 943,
    )


def fraud_handbook(data: Path, *, quick: bool) -> Stream:
    """Three months of card payments; until day 38 no terminal is compromised (scenario 2 is left out).

    Features as in the handbook: amount, time of day and week, the customer's and the terminal's last 1, 7 and
    14 days (30 would still fill up while the service runs); frauds at a terminal are known a week late.
    """
    change_day, delay = 38, 7
    table = pd.read_parquet(data / "fraud_handbook" / "transactions_apr_jun.parquet")
    table["TX_DATETIME"] = table["TX_DATETIME"].astype("datetime64[us]")
    day = (table["TX_DATETIME"] - table["TX_DATETIME"].min().normalize()).dt.total_seconds() / 86_400
    table = table[~((table["TX_FRAUD_SCENARIO"] == 2) & (day < change_day))].reset_index(drop=True)
    when = table["TX_DATETIME"]
    found = pd.DataFrame(
        {
            "amount": table["TX_AMOUNT"].astype(float),
            "weekend": (when.dt.weekday >= 5).astype(float),
            "night": (when.dt.hour <= 6).astype(float),
        }
    )
    second = when.astype("int64").to_numpy() / 1e6
    ones = np.ones(len(table))
    for days in (1, 7, 14):
        customer = table["CUSTOMER_ID"].to_numpy()
        number, total = past(customer, second, [ones, table["TX_AMOUNT"].to_numpy(float)], 0, days)
        found[f"customer_payments_{days}d"] = number
        found[f"customer_mean_amount_{days}d"] = total / np.maximum(number, 1)
        terminal = table["TERMINAL_ID"].to_numpy()
        number, frauds = past(terminal, second, [ones, table["TX_FRAUD"].to_numpy(float)], delay, days)
        found[f"terminal_payments_{days}d"] = number
        found[f"terminal_fraud_share_{days}d"] = frauds / np.maximum(number, 1)
    if quick:
        kept = (table["CUSTOMER_ID"] % 5 < 2).to_numpy()
        table, found = table[kept], found[kept]
    return Stream(
        name="fraud_handbook",
        inputs=pa.Table.from_pandas(found, preserve_index=False),
        truth=table["TX_FRAUD"].to_numpy().astype(np.int64),
        time_us=table["TX_DATETIME"].astype("int64").to_numpy(),
        label_delay_days=delay,
        trained_days=22,
        live_day=31,
        change_day=change_day,
        chunk_days=1,
        label_days=0.5,
        wrong_day=75,
        checklist='[model]\nname = "fraud"\nthreshold = 0.1  # one over one plus the cost of a missed fraud\n'
        + COMMON
        + """
ramp = [0.1, 0.5, 1.0]
margin = 0.001
[monitoring]
window = "1d"
label_delay = "7d"
cost_false_positive = 1.0
cost_false_negative = 9.0

[training]
sources = ["log", "sources/history.toml"]
dev = "4d"
test = "4d"
gap = "0s"           # the features know frauds a week late already
refit = true
triggers = ["alarm", "schedule"]
schedule = "30d"
cool_down = "7d"
""",
        days=91,
    )


def past(
    key: np.ndarray[Any, Any], second: np.ndarray[Any, Any], values: list[Any], delay: int, days: int
) -> list[Any]:
    """Sums of the same key's earlier rows, from `delay + days` to `delay` days before each row."""
    order = np.lexsort((second, key))
    keys, seconds = key[order], second[order]
    _, codes = np.unique(keys, return_inverse=True)
    # One axis for all keys: each key's rows lie far away from the other keys'.
    far = (seconds.max() - seconds.min()) + 100 * 86_400
    place = codes * far + (seconds - seconds.min())
    end = np.searchsorted(place, place - delay * 86_400, side="left")
    first = np.searchsorted(place, place - (delay + days) * 86_400, side="left")
    found = []
    for value in values:
        total = np.concatenate([[0.0], np.cumsum(value[order])])
        sums = np.empty(len(order))
        sums[order] = total[end] - total[first]
        found.append(sums)
    return found


STREAMS = {"elec2": elec2, "fraud_handbook": fraud_handbook}
