"""What other detectors say of the episodes that `streams.py` wrote; run by it in each one's environment.

    python -P bench/stream_peers.py river FOLDER

FOLDER holds, for each episode, `N.reference.parquet`, `N.current.parquet` and `N.json`. Every detector keeps
its defaults. Those that follow one number are shown the model's errors, and one more of them each column;
those that compare tables are shown the inputs, the truth and the model's answer, window by window. The
answer: for each detector, by episode, the rows at which it raised an alarm.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Alarms = list[int]
SIGNIFICANT = 0.05


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
        columns = [
            frame[name].astype("category").cat.codes if frame[name].dtype == object else frame[name]
            for name in self.columns
        ]
        return np.column_stack(columns).astype(float)


def _flagged(detector: Any, values: np.ndarray[Any, Any], step: Callable[[Any, float], bool]) -> Alarms:
    return [row + 1 for row, value in enumerate(values) if step(detector, value)]


def _by_rows(shown: Shown, make: Callable[[], Any], step: Callable[[Any, float], bool], of: str) -> Alarms:
    """Alarms of one detector on the errors, or of one on each column, after the reference has passed."""
    if of == "errors":
        if shown.target is None:
            return []
        columns = [(shown.reference["error"].to_numpy(), shown.current["error"].to_numpy())]
    else:
        before, after = shown.numeric(shown.reference), shown.numeric(shown.current)
        columns = [(before[:, place], after[:, place]) for place in range(before.shape[1])]
    found: set[int] = set()
    for before_values, after_values in columns:
        detector = make()
        _flagged(detector, before_values, step)
        found.update(_flagged(detector, after_values, step))
    return sorted(found)


def river() -> dict[str, Callable[[Shown], Alarms]]:
    from river import drift
    from river.drift import binary

    def step(detector: Any, value: float) -> bool:
        detector.update(value)
        return bool(detector.drift_detected)

    def of_bits(detector: Any, value: float) -> bool:
        detector.update(bool(value))
        return bool(detector.drift_detected)

    def classes_only(make: Callable[[], Any]) -> Callable[[Shown], Alarms]:
        return lambda shown: (
            _by_rows(shown, make, of_bits, "errors") if shown.about["task"] != "regression" else []
        )

    found: dict[str, Callable[[Shown], Alarms]] = {
        f"{make.__name__} on errors": (lambda shown, make=make: _by_rows(shown, make, step, "errors"))
        for make in (drift.ADWIN, drift.PageHinkley, drift.KSWIN)
    }
    found |= {
        f"{make.__name__} on errors": classes_only(make)
        for make in (binary.DDM, binary.EDDM, binary.HDDMA, binary.HDDMW, binary.FHDDM)
    }
    found["ADWIN on each column"] = lambda shown: _by_rows(shown, drift.ADWIN, step, "columns")
    return found


def frouros() -> dict[str, Callable[[Shown], Alarms]]:
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

    found: dict[str, Callable[[Shown], Alarms]] = {
        f"{make.__name__} on errors": (
            lambda shown, make=make: (
                _by_rows(shown, make, step, "errors") if shown.about["task"] != "regression" else []
            )
        )
        for make in (ADWIN, DDM, ECDDWT, HDDMA, HDDMW, STEPD, CUSUM, PageHinkley)
    }
    found["KS test on each column, p < .05"] = ks
    return found


def evidently() -> dict[str, Callable[[Shown], Alarms]]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def shares(shown: Shown) -> list[tuple[int, float]]:
        found = []
        for end, rows in shown.windows():
            report = Report([DataDriftPreset(columns=shown.columns)])
            result = report.run(rows[shown.columns], shown.reference[shown.columns]).dict()
            found.append((end, float(result["metrics"][0]["value"]["share"])))
        return found

    kept: dict[int, list[tuple[int, float]]] = {}

    def once(shown: Shown) -> list[tuple[int, float]]:
        if id(shown) not in kept:
            kept.clear()
            kept[id(shown)] = shares(shown)
        return kept[id(shown)]

    return {
        "any column": lambda shown: [end for end, share in once(shown) if share > 0],
        "half of the columns": lambda shown: [end for end, share in once(shown) if share >= 0.5],
    }


def nannyml() -> dict[str, Callable[[Shown], Alarms]]:
    import nannyml as nml

    def flagged(shown: Shown, made: Any) -> Alarms:
        made.fit(shown.reference)
        table = made.calculate(shown.current).to_df()
        marks = [column for column in table.columns if column[-1] == "alert"]
        period = table[("chunk", "period")] if ("chunk", "period") in table.columns else None
        if period is not None:
            table = table[period == "analysis"]
        alarm = table[marks].fillna(value=False).astype(bool).any(axis=1)
        ends = table[("chunk", "end_index")]
        return [int(end) + 1 for end, raised in zip(ends, alarm, strict=True) if raised]

    def univariate(shown: Shown) -> Alarms:
        return flagged(
            shown, nml.UnivariateDriftCalculator(column_names=shown.columns, chunk_size=shown.window)
        )

    def realised(shown: Shown) -> Alarms:
        if shown.target is None:
            return []
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


def alibi() -> dict[str, Callable[[Shown], Alarms]]:
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


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    peer, folder = sys.argv[1], Path(sys.argv[2])
    words = io.StringIO()
    answer: dict[str, dict[str, Any]] = {}
    with contextlib.redirect_stdout(words):
        detectors = PEERS[peer]()
        for number in range(len(list(folder.glob("*.json")))):
            shown = Shown(folder, number)
            for name, detect in detectors.items():
                try:
                    answer.setdefault(name, {})[str(number)] = detect(shown)
                except Exception as error:  # noqa: BLE001 - one that fails on an episode is reported as such
                    answer.setdefault(name, {})[str(number)] = f"{type(error).__name__}: {error}"[:120]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
