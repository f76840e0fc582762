"""Real streams whose changes are known: how soon, how often missed, how often wrong; beside other detectors.

    uv run python bench/streams.py                      everything, every peer in an environment of its own
    uv run python bench/streams.py --peers --json       holdfast alone
    uv run python bench/streams.py --only usenet nab    some of the data
    uv run python bench/streams.py --keep FOLDER        go on where the last run with that folder stopped

`stream_episodes.py` says what is shown, `stream_generated.py` draws more of the same kinds, `stream_peers.py`
says who else looks at it. For each detector over all
episodes: alarms in rows that are known to be quiet, where neighbouring windows in alarm count once, and MTFA,
the mean number of quiet windows between two; the share of quiet windows that any alarm stands in, since one
that never ends would count once; the share of changes missed (MDR); the mean delay of those found, in windows
(MTD); their ratio MTR = MTFA / MTD * (1 - MDR); and F1 where the first alarm must come within the tolerance
of the change and every false one counts. `F1_loud` counts every quiet window in alarm as a false one: a
detector that never falls silent has one false alarm otherwise. An alarm counts for a change if it comes after
its beginning and before the episode ends. `missed_without_new` counts as missed also what only an alarm shows
that stood already before the change: it would have told nobody.

Not every detector can look at every episode: those of errors need a truth. Each is scored on what it was
shown, and beside it stands what holdfast scores on the same episodes (`holdfast_there`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from stream_episodes import Episode, episodes, with_model
from stream_generated import concepts, numbers
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
LOOSE = "holdfast, false alarms 1 per 10 windows"
"""About what the others spend: misses and delays compare at the same number of false alarms only."""
SHORT = "holdfast, windows a quarter as long"
"""And as many false alarms per row: those that are told row by row need not wait for the end of a window."""
SHORTER = 4


def prepared(episode: Episode, folder: Path, number: int) -> dict[str, Any]:
    """Written for the peers; what is to be known of it."""
    reference, current = with_model(episode)
    parquet.write_table(reference, folder / f"{number}.reference.parquet")
    parquet.write_table(current, folder / f"{number}.current.parquet")
    about = {
        "number": number,
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


def prepare_all(
    data: Path, folder: Path, only: list[str] | None, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every episode asked for, written to the folder unless it is there; what is to be known of each."""
    kept = folder / "episodes.jsonl"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shown = chain(episodes(data, report), concepts(), numbers())
        every = [prepared(episode, folder, number) for number, episode in enumerate(shown)]
        kept.write_text("".join(json.dumps(one) + "\n" for one in every))
    every = [json.loads(line) for line in kept.read_text().splitlines()]
    return [one for one in every if not only or one["group"] in only]


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
    window, run_length = about["window"], 10 if kind == LOOSE else 1000
    if kind == SHORT:
        window, run_length = max(window // SHORTER, 1), run_length * SHORTER
    try:
        found = diagnose(
            reference, current, target=about["target"], time=about["time"], window=f"{window} rows",
            min_rows=min(window, 50), false_alarms=f"1 per {run_length} windows", explain=False, **answers,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - reported, as for the peers
        return f"{type(error).__name__}: {error}"[:200]
    ends = np.cumsum([window.rows for window in found.windows])
    return [
        int(end)
        for end, window in zip(ends, found.windows, strict=True)
        if (window.alarm if kind != CONCEPT else (window.log_e_concept or 0.0) >= 1)
    ]


def ask_peer(peer: str, folder: Path, group: str, *, patience_s: float, python: str | None) -> str:
    """Has the peer's detectors look at a group; why it stopped, or nothing. Answers stay in the folder."""
    if python is None:
        start = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
        for package in (*PEERS[peer], "pyarrow", "pandas"):
            start += ["--with", package]
        start += ["python"]
    else:
        start = [python.format(peer=peer)]
    # -P: a file beside the script may have the name of a module that the peer imports.
    script, answers = Path(__file__).with_name("stream_peers.py"), folder / f"{peer}.{group}.jsonl"
    command = [*start, "-P", str(script), peer, str(folder), str(answers), group]
    if answers.exists():
        # A run that was ended may have left half a line.
        text = answers.read_text()
        answers.write_text(text[: text.rfind("\n") + 1])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return f"{peer} on {group}: not done within {patience_s:.0f} s"
    return f"{peer} on {group}: {done.stderr.strip()[-300:]}" if done.returncode else ""


def peer_answers(peer: str, folder: Path, about: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By detector and episode number: alarms, None where it has nothing to look at, or why it failed."""
    number = {one["name"]: str(place) for place, one in enumerate(about)}
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(f"{peer}.*.jsonl")):
        for line in path.read_text().splitlines():
            one = json.loads(line)
            if one["episode"] in number:
                answer = one.get("failed", one.get("alarms"))
                found.setdefault(f"{peer}: {one['detector']}", {})[number[one["episode"]]] = answer
    return found


def rising(alarms: list[int], window: int) -> list[int]:
    """Alarms whose predecessor is more than a window away."""
    return [row for place, row in enumerate(alarms) if place == 0 or row - alarms[place - 1] > window]


def scored(
    episodes_about: list[dict[str, Any]], alarms: dict[str, Any], only: set[str] | None = None
) -> dict[str, Any]:
    """The table's row for one detector, on the episodes that it answered or on some of them."""
    quiet_windows = 0.0
    false = hit = missed = late = failed = unasked = shown = loud = untold = 0
    delays = []
    for number, about in enumerate(episodes_about):
        if only is not None and str(number) not in only:
            continue
        if str(number) not in alarms:
            unasked += 1
            continue
        found = alarms[str(number)]
        if isinstance(found, str):
            failed += 1
            continue
        if found is None:
            continue
        shown += 1
        window, change = about["window"], about["change"]
        if about["quiet_known"]:
            end = about["rows"] if change is None else change
            quiet_windows += end / window
            early = [row for row in found if row <= end]
            false += len(rising(early, window))
            loud += len({(row - 1) // window for row in early})
        if change is None:
            continue
        after = [row for row in found if row > change]
        untold += not any(row > change for row in rising(found, window))
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
    # Bifet's mean time ratio; with no false alarm at all, as if the next window had one.
    ratio = None
    if delays and quiet_windows:
        ratio = quiet_windows / max(false, 1) / float(np.mean(delays)) * (1 - missed / max(changes, 1))
    f1, f1_loud = (2 * hit / max(2 * hit + wrong + late + missed, 1) for wrong in (false, loud))
    return {
        "changes": changes,
        "missed": missed,
        "missed_without_new": untold,
        "MDR": round(missed / max(changes, 1), 3),
        "MTD_windows": round(float(np.mean(delays)), 2) if delays else None,
        "median_delay_windows": round(float(np.median(delays)), 2) if delays else None,
        "false_alarms": false,
        "quiet_windows": round(quiet_windows),
        "quiet_windows_in_alarm": round(loud / quiet_windows, 4) if quiet_windows else None,
        "MTFA_windows": round(quiet_windows / false, 1) if false else None,
        "MTR": round(ratio, 1) if ratio is not None else None,
        "F1": round(f1, 3),
        "F1_loud": round(f1_loud, 3),
        "episodes": shown,
        "failed": failed,
        "unanswered": unasked,
    }


def compared(
    about: list[dict[str, Any]], found: dict[str, dict[str, Any]], some: set[str]
) -> dict[str, dict[str, Any]]:
    """The table's rows on some of the episodes, each beside what holdfast scores where it answered."""
    table = {}
    for name, alarms in found.items():
        table[name] = scored(about, alarms, some)
        if not name.startswith("holdfast"):
            same = {number for number in some if isinstance(alarms.get(number), list)}
            table[name]["holdfast_there"] = scored(about, found[MODELS], same)
    return table


COLUMNS = {
    "changes": "changes",
    "missed": "missed",
    "mean delay": "MTD_windows",
    "false alarms": "false_alarms",
    "quiet windows": "quiet_windows",
    "of them in alarm": "quiet_windows_in_alarm",
    "MTR": "MTR",
    "F1": "F1",
    "F1, loud": "F1_loud",
}
THERE = ("missed", "MTD_windows", "false_alarms", "MTR", "F1", "F1_loud")
"""What is shown of holdfast on the same episodes."""


def in_markdown(table: dict[str, Any]) -> str:
    """The table as text; what holdfast has on the same episodes stands behind the stroke."""
    lines = [
        "| " + " | ".join(["", *COLUMNS]) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, row in table.items():
        if not row["episodes"]:
            continue
        cells = [name.replace("|", "\\|")]
        for key in COLUMNS.values():
            there = row.get("holdfast_there")
            cells.append(f"{row[key]} / {there[key]}" if there and key in THERE else f"{row[key]}")
        lines.append("| " + " | ".join(cell.replace("None", "-") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="only these data sets")
    parser.add_argument("--keep", type=Path, help="folder of episodes and answers, to go on with later")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--patience", type=float, default=900, help="seconds for each peer and data set")
    parser.add_argument("--peer-python", help="such as envs/{peer}/bin/python; by default uv makes one")
    parser.add_argument("--episodes", action="store_true", help="what each detector found in each episode")
    parser.add_argument("--markdown", action="store_true", help="the tables as Markdown")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    def report(line: str) -> None:
        if not arguments.json:
            print(line, flush=True)

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        about = prepare_all(arguments.data, folder, arguments.only, report)
        report(f"{len(about)} episodes, {sum(one['change'] is not None for one in about)} changes")
        if not about:
            raise SystemExit("no data")
        found: dict[str, dict[str, Any]] = {}
        with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
            for kind in (MODELS, PLAIN, CONCEPT, LOOSE, SHORT):
                waiting = [pool.submit(holdfast, folder, one["number"], kind) for one in about]
                found[kind] = {str(place): one.result() for place, one in enumerate(waiting)}
        troubles = []
        for peer in arguments.peers:
            for group in dict.fromkeys(one["group"] for one in about):
                trouble = ask_peer(
                    peer, folder, group, patience_s=arguments.patience, python=arguments.peer_python
                )
                if trouble:
                    troubles.append(trouble)
                    report(trouble)
            found |= peer_answers(peer, folder, about)
    drawn = {str(place) for place, one in enumerate(about) if one["group"].startswith("generated")}
    every = {str(place) for place in range(len(about))}
    table, drawn_table = (compared(about, found, some) for some in (every - drawn, drawn))
    groups = {
        group: compared(
            about, found, {str(place) for place, one in enumerate(about) if one["group"] == group}
        )
        for group in dict.fromkeys(one["group"] for one in about)
    }
    wall_s = round(time.perf_counter() - started, 1)
    if arguments.json:
        each = {"episodes": about, "alarms": found} if arguments.episodes else {}
        said = {
            "together": table,
            "drawn": drawn_table,
            "by_data": groups,
            "troubles": troubles,
            "wall_s": wall_s,
        }
        print(json.dumps(said | each, indent=2))
        return
    if arguments.markdown:
        for group, part in {"Real streams": table, "Drawn streams": drawn_table, **groups}.items():
            if any(row["episodes"] for row in part.values()):
                report(f"\n## {group}\n\n{in_markdown(part)}")
    else:
        for name, row in table.items():
            report(f"{name:45} {row}")
    if arguments.episodes:
        for number, one in enumerate(about):
            report(f"{one['name']} change {one['change']} window {one['window']} rows {one['rows']}")
            for name, alarms in found.items():
                report(f"    {name:45} {str(alarms.get(str(number)))[:150]}")
    report(f"{wall_s} s")


if __name__ == "__main__":
    main()
