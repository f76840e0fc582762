"""Real streams whose changes are known: how soon, how often missed, how often wrong; beside other detectors.

    uv run python bench/streams.py                      everything, every peer in an environment of its own
    uv run python bench/streams.py --peers --json       holdfast alone
    uv run python bench/streams.py --groups usenet nab  some of the data

`stream_episodes.py` says what is shown, `stream_peers.py` who else looks at it. For each detector over all
episodes: alarms in rows that are known to be quiet, where neighbouring windows in alarm count once (runs a
thousand quiet windows, and MTFA, the mean number of quiet windows between two); the share of changes missed
(MDR); the mean delay of those found, in windows (MTD); and F1 where the first alarm must come within the
tolerance of the change and every false one counts. An alarm counts for a change if it comes after its
beginning and before the episode ends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from stream_episodes import Episode, episodes, with_model
from threadpoolctl import threadpool_limits

from holdfast.monitor import diagnose

PEERS = {
    "river": ("river",),
    "frouros": ("frouros",),
    # Their newest releases fail with what they allow: pandas 3, and a package that they do not name.
    "evidently": ("evidently", "pandas<3"),
    "nannyml": ("nannyml", "pandas<3", "statsmodels"),
    "alibi-detect": ("alibi-detect", "pandas<3", "pyarrow<20"),
}
TOLERANCE_WINDOWS = 10
MODELS = "holdfast, with the model's answers"
PLAIN = "holdfast, with labels alone"
CONCEPT = "holdfast, alarms of P(y|x) alone"


def prepared(episode: Episode, folder: Path, number: int) -> dict[str, Any]:
    """Written for the peers; what is to be known of it."""
    reference, current = with_model(episode)
    parquet.write_table(reference, folder / f"{number}.reference.parquet")
    parquet.write_table(current, folder / f"{number}.current.parquet")
    about = {
        "name": episode.name,
        "group": episode.group,
        "change": episode.change,
        "settled": episode.settled,
        "window": episode.window,
        "rows": len(current),
        "target": episode.target,
        "task": episode.task,
        "time": episode.time,
        "quiet_known": episode.quiet_known,
    }
    (folder / f"{number}.json").write_text(json.dumps(about))
    return about


def holdfast(folder: Path, number: int, kind: str) -> list[int] | str:
    """Rows at which a window in alarm ends."""
    about = json.loads((folder / f"{number}.json").read_text())
    reference, current = (
        parquet.read_table(folder / f"{number}.{side}.parquet") for side in ("reference", "current")
    )
    if kind == CONCEPT and about["target"] is None:
        return []
    hidden = [
        name
        for name in ("said", "error", "score")
        if name in reference.column_names and (name != "score" or kind == PLAIN)
    ]
    reference, current = reference.drop_columns(hidden), current.drop_columns(hidden)
    answers = {}
    if about["target"] and kind != PLAIN:
        answers = {"prediction" if about["task"] == "regression" else "score": "score"}
    try:
        found = diagnose(
            reference, current, target=about["target"], time=about["time"],
            window=f"{about['window']} rows", explain=False, **answers,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - reported, as for the peers
        return f"{type(error).__name__}: {error}"[:200]
    ends = np.cumsum([window.rows for window in found.windows])
    return [
        int(end)
        for end, window in zip(ends, found.windows, strict=True)
        if (window.alarm if kind != CONCEPT else (window.log_e_concept or 0.0) >= 1)
    ]


def peer_alarms(peer: str, folder: Path, patience_s: float, python: str | None) -> dict[str, Any] | str:
    """What each detector of a peer found, or why there is nothing."""
    if python is None:
        start = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
        for package in (*PEERS[peer], "pyarrow", "pandas"):
            start += ["--with", package]
        start += ["python"]
    else:
        start = [python.format(peer=peer)]
    # -P: a file beside the script may have the name of a module that the peer imports.
    command = [*start, "-P", str(Path(__file__).with_name("stream_peers.py")), peer, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return f"not done within {patience_s:.0f} s"
    if done.returncode:
        return done.stderr.strip()[-300:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def rising(alarms: list[int], window: int) -> list[int]:
    """Alarms whose predecessor is more than a window away."""
    return [row for place, row in enumerate(alarms) if place == 0 or row - alarms[place - 1] > window]


def scored(episodes_about: list[dict[str, Any]], alarms: dict[str, list[int] | str]) -> dict[str, Any]:
    """The table's row for one detector."""
    quiet_windows = 0.0
    false = hit = missed = late = failed = 0
    delays = []
    for number, about in enumerate(episodes_about):
        found = alarms.get(str(number), [])
        if isinstance(found, str):
            failed += 1
            found = []
        window, change = about["window"], about["change"]
        if about["quiet_known"]:
            end = about["rows"] if change is None else change
            quiet_windows += end / window
            false += len(rising([row for row in found if row <= end], window))
        if change is None:
            continue
        after = [row for row in found if row > change]
        if not after:
            missed += 1
            continue
        delay = (after[0] - change) / window
        delays.append(delay)
        # A gradual change may be found until the tolerance after it is complete.
        within = after[0] <= max(about["settled"], change) + TOLERANCE_WINDOWS * window
        hit += within
        late += not within
    changes = hit + late + missed
    f1 = 2 * hit / max(2 * hit + false + late + missed, 1)
    return {
        "changes": changes,
        "missed": missed,
        "MDR": round(missed / max(changes, 1), 3),
        "MTD_windows": round(float(np.mean(delays)), 2) if delays else None,
        "median_delay_windows": round(float(np.median(delays)), 2) if delays else None,
        "false_alarms": false,
        "quiet_windows": round(quiet_windows),
        "MTFA_windows": round(quiet_windows / false, 1) if false else None,
        "F1": round(f1, 3),
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--groups", nargs="*", help="only these data sets")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--patience", type=float, default=900, help="seconds for each peer")
    parser.add_argument("--peer-python", help="such as envs/{peer}/bin/python; by default uv makes one")
    parser.add_argument("--episodes", action="store_true", help="what each detector found in each episode")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    def report(line: str) -> None:
        if not arguments.json:
            print(line, flush=True)

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about: list[dict[str, Any]] = []
        for episode in episodes(arguments.data, report):
            if not arguments.groups or episode.group in arguments.groups:
                about.append(prepared(episode, folder, len(about)))
        report(f"{len(about)} episodes, {sum(one['change'] is not None for one in about)} changes")
        if not about:
            raise SystemExit("no data")
        found: dict[str, dict[str, Any] | str] = {}
        with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
            for kind in (MODELS, PLAIN, CONCEPT):
                waiting = [pool.submit(holdfast, folder, number, kind) for number in range(len(about))]
                found[kind] = {str(number): one.result() for number, one in enumerate(waiting)}
        for peer in arguments.peers:
            answer = peer_alarms(peer, folder, arguments.patience, arguments.peer_python)
            if isinstance(answer, str):
                found[peer] = answer
                continue
            found |= {f"{peer}: {detector}": alarms for detector, alarms in answer.items()}
    table = {
        name: {"failed_because": alarms} if isinstance(alarms, str) else scored(about, alarms)
        for name, alarms in found.items()
    }
    groups = {
        group: {
            name: scored(
                [about[number] for number in numbers],
                {str(place): alarms.get(str(number), []) for place, number in enumerate(numbers)},
            )
            for name, alarms in found.items()
            if not isinstance(alarms, str)
        }
        for group in dict.fromkeys(one["group"] for one in about)
        for numbers in [[number for number, one in enumerate(about) if one["group"] == group]]
    }
    wall_s = round(time.perf_counter() - started, 1)
    if arguments.json:
        each = {"episodes": about, "alarms": found} if arguments.episodes else {}
        print(json.dumps({"together": table, "by_data": groups, "wall_s": wall_s, **each}, indent=2))
        return
    for name, row in table.items():
        report(f"{name:45} {row}")
    if arguments.episodes:
        for number, one in enumerate(about):
            report(f"{one['name']} change {one['change']} window {one['window']} rows {one['rows']}")
            for name, alarms in found.items():
                if not isinstance(alarms, str):
                    report(f"    {name:45} {str(alarms.get(str(number)))[:150]}")
    report(f"{wall_s} s")


if __name__ == "__main__":
    main()
