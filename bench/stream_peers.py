"""What other detectors say of the episodes that `streams.py` wrote; run by it in each one's environment.

    python -P bench/stream_peers.py river FOLDER ANSWERS GROUP

FOLDER holds, for each episode, `N.reference.parquet`, `N.current.parquet` and `N.json`. Every detector keeps
its defaults. Those that follow one number are shown the model's errors (of a regression the absolute ones; of
one number without a truth, the number itself), and one more of them each column; those that compare tables
are shown the inputs, the truth and the model's answer, window by window. Words are shown as codes, in the
order of the reference's words, to those that take numbers only.

For each episode of the group and each detector one line is added to the file ANSWERS: the rows at which it
raised an alarm, null where it has nothing to look at, or why it failed. What stands there already is not
asked again. What takes longer than `PATIENCE_S` for one episode has failed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Alarms = list[int]
Detect = Callable[["Shown"], "Alarms | None"]
SIGNIFICANT = 0.05
PATIENCE_S = 180
"""For one detector and one episode."""


class Shown:
    """An episode as its detectors see it."""

    def __init__(self, folder: Path, number: int) -> None:
        self.about = json.loads((folder / f"{number}.json").read_text())
        self.reference = pd.read_parquet(folder / f"{number}.reference.parquet")
        self.current = pd.read_parquet(folder / f"{number}.current.parquet")
        self.target: str | None = self.about["target"]
        self.window: int = self.about["window"]
        apart = {self.about["time"], "error", "score"}
        self.columns = [name for name in self.reference.columns if name not in apart]
        """Inputs, truth and answer."""

    def windows(self) -> list[tuple[int, pd.DataFrame]]:
        """Where each window ends, and its rows; the last, if it is not full, with the one before."""
        rows = len(self.current)
        starts = list(range(0, max(rows - self.window + 1, 1), self.window))
        ends = [*starts[1:], rows]
        return [(end, self.current.iloc[start:end]) for start, end in zip(starts, ends, strict=True)]

    def numeric(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Words by their place among the reference's, so that one word has one number everywhere."""
        columns = [
            frame[name].to_numpy(dtype=float)
            if pd.api.types.is_numeric_dtype(frame[name])
            else pd.Categorical(frame[name], categories=sorted(set(self.reference[name].dropna()))).codes
            for name in self.columns
        ]
        return np.column_stack(columns).astype(float)

    def followed(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
        """The one number to follow, before and now: the error, or the value where there is no truth."""
        if self.target is not None:
            return self.reference["error"].to_numpy(float), self.current["error"].to_numpy(float)
        if len(self.columns) == 1:
            return self.reference[self.columns[0]].to_numpy(float), self.current[self.columns[0]].to_numpy(
                float
            )
        return None

    def mistakes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
        """0 and 1: a wrong class, or an error beyond the reference's median; None without a truth."""
        pair = self.followed()
        if self.target is None or pair is None:
            return None
        if self.about["task"] != "regression":
            return pair
        usual = float(np.median(pair[0]))
        return (pair[0] > usual).astype(float), (pair[1] > usual).astype(float)


Step = Callable[[Any, float], bool]


def _flagged(detector: Any, values: np.ndarray[Any, Any], step: Step) -> Alarms:
    return [row + 1 for row, value in enumerate(values) if step(detector, value)]


def _follow(
    pair: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None, make: Callable[[], Any], step: Step
) -> Alarms | None:
    """Alarms after the reference has passed."""
    if pair is None:
        return None
    detector = make()
    _flagged(detector, pair[0], step)
    return _flagged(detector, pair[1], step)


def _each_column(shown: Shown, make: Callable[[], Any], step: Step) -> Alarms:
    before, after = shown.numeric(shown.reference), shown.numeric(shown.current)
    found: set[int] = set()
    for place in range(before.shape[1]):
        found.update(_follow((before[:, place], after[:, place]), make, step) or [])
    return sorted(found)


def river() -> dict[str, Detect]:
    from river import drift
    from river.drift import binary

    def step(detector: Any, value: float) -> bool:
        detector.update(value)
        return bool(detector.drift_detected)

    def of_bits(detector: Any, value: float) -> bool:
        detector.update(bool(value))
        return bool(detector.drift_detected)

    found: dict[str, Detect] = {
        f"{make.__name__} on errors": (lambda shown, make=make: _follow(shown.followed(), make, step))
        for make in (drift.ADWIN, drift.PageHinkley, drift.KSWIN)
    }
    found |= {
        f"{make.__name__} on errors": (lambda shown, make=make: _follow(shown.mistakes(), make, of_bits))
        for make in (binary.DDM, binary.EDDM, binary.HDDMA, binary.HDDMW, binary.FHDDM)
    }
    found["ADWIN on each column"] = lambda shown: _each_column(shown, drift.ADWIN, step)
    return found


def frouros() -> dict[str, Detect]:
    from frouros.detectors.concept_drift import ADWIN, CUSUM, DDM, ECDDWT, HDDMA, HDDMW, STEPD, PageHinkley
    from frouros.detectors.data_drift import KSTest

    def step(detector: Any, value: float) -> bool:
        detector.update(value=value)
        drifted = bool(detector.status["drift"])
        if drifted:
            detector.reset()
        return drifted

    def ks(shown: Shown) -> Alarms:
        before = shown.numeric(shown.reference)
        fitted = []
        for place in range(before.shape[1]):
            detector = KSTest()
            detector.fit(X=before[:, place])
            fitted.append(detector)
        return [
            end
            for end, rows in shown.windows()
            if any(
                one.compare(X=column)[0].p_value < SIGNIFICANT
                for one, column in zip(fitted, shown.numeric(rows).T, strict=True)
            )
        ]

    found: dict[str, Detect] = {
        f"{make.__name__} on errors": (lambda shown, make=make: _follow(shown.followed(), make, step))
        for make in (ADWIN, CUSUM, PageHinkley)
    }
    found |= {
        f"{make.__name__} on errors": (lambda shown, make=make: _follow(shown.mistakes(), make, step))
        for make in (DDM, ECDDWT, HDDMA, HDDMW, STEPD)
    }
    found["KS test on each column, p < .05"] = ks
    return found


def evidently() -> dict[str, Detect]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def shares(shown: Shown) -> list[tuple[int, float]]:
        found = []
        for end, rows in shown.windows():
            report = Report([DataDriftPreset(columns=shown.columns)])
            result = report.run(rows[shown.columns], shown.reference[shown.columns]).dict()
            found.append((end, float(result["metrics"][0]["value"]["share"])))
        return found

    once = functools.lru_cache(maxsize=1)(shares)

    return {
        "any column": lambda shown: [end for end, share in once(shown) if share > 0],
        "half of the columns": lambda shown: [end for end, share in once(shown) if share >= 0.5],
    }


def nannyml() -> dict[str, Detect]:
    import nannyml as nml

    def flagged(shown: Shown, made: Any) -> Alarms:
        made.fit(shown.reference)
        table = made.calculate(shown.current).to_df()
        # The names of the columns have two levels or three.
        chunk = {name[-1]: name for name in table.columns if name[0] == "chunk"}
        table = table[table[chunk["period"]] == "analysis"]
        marks = [name for name in table.columns if name[-1] == "alert"]
        alarm = table[marks].fillna(value=False).astype(bool).any(axis=1)
        return [int(end) + 1 for end, raised in zip(table[chunk["end_index"]], alarm, strict=True) if raised]

    def univariate(shown: Shown) -> Alarms:
        return flagged(
            shown, nml.UnivariateDriftCalculator(column_names=shown.columns, chunk_size=shown.window)
        )

    def realised(shown: Shown) -> Alarms | None:
        if shown.target is None:
            return None
        if shown.about["task"] == "regression":
            kind, metrics, more = "regression", ["mae"], {"y_pred": "said"}
        else:
            kind, metrics = "classification_binary", ["roc_auc"]
            more = {"y_pred": "said", "y_pred_proba": "score"}
            both = pd.concat([shown.reference, shown.current])
            positive = max(both[shown.target].unique())
            for frame in (shown.reference, shown.current):
                for name in (shown.target, "said"):
                    if frame[name].dtype == object:
                        frame[name] = (frame[name] == positive).astype(int)
        return flagged(
            shown,
            nml.PerformanceCalculator(
                problem_type=kind, y_true=shown.target, metrics=metrics, chunk_size=shown.window, **more
            ),
        )

    return {"univariate": univariate, "realised quality": realised}


def alibi() -> dict[str, Detect]:
    from alibi_detect.cd import CVMDrift, KSDrift

    def of(make: Any) -> Callable[[Shown], Alarms]:
        def found(shown: Shown) -> Alarms:
            detector = make(shown.numeric(shown.reference))
            return [
                end
                for end, rows in shown.windows()
                if detector.predict(shown.numeric(rows))["data"]["is_drift"]
            ]

        return found

    return {"KSDrift": of(KSDrift), "CVMDrift": of(CVMDrift)}


PEERS = {
    "river": river,
    "frouros": frouros,
    "evidently": evidently,
    "nannyml": nannyml,
    "alibi-detect": alibi,
}


def _out_of_patience(*_: object) -> None:
    raise TimeoutError(f"not done within {PATIENCE_S} s")


def main() -> None:
    signal.signal(signal.SIGALRM, _out_of_patience)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
    peer, folder, answers, group = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    kept = answers.read_text().splitlines() if answers.exists() else []
    known = {(one["detector"], one["episode"]) for one in map(json.loads, kept)}
    words = io.StringIO()
    with contextlib.redirect_stdout(words), answers.open("a") as file:
        detectors = PEERS[peer]()
        for number in range(len(list(folder.glob("*.json")))):
            about = json.loads((folder / f"{number}.json").read_text())
            waiting = [name for name in detectors if (name, about["name"]) not in known]
            if about["group"] != group or not waiting:
                continue
            shown = Shown(folder, number)
            for name in waiting:
                line: dict[str, Any] = {"detector": name, "episode": about["name"]}
                signal.alarm(PATIENCE_S)
                try:
                    line["alarms"] = detectors[name](shown)
                except Exception as error:  # noqa: BLE001 - one that fails on an episode is reported as such
                    line["failed"] = f"{type(error).__name__}: {error}"[:200]
                finally:
                    signal.alarm(0)
                file.write(json.dumps(line) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
