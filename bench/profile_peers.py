"""How long others take to compare two tables in memory; run by `profile.py` in each one's environment.

    python -P bench/profile_peers.py alibi-detect REFERENCE.parquet CURRENT.parquet

Each way of comparing is run once on what `profile.py` wrote, with its defaults, and its line of JSON printed.
Reading the files and bringing them into the form that the library takes are not counted: for alibi-detect
numbers with words as codes, for the others a pandas frame.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Compare = Callable[[], object]


def alibi(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Compare]:
    from alibi_detect.cd import CVMDrift, KSDrift, TabularDrift

    words = [place for place, name in enumerate(old.columns) if not pd.api.types.is_numeric_dtype(old[name])]

    def numbers(frame: pd.DataFrame) -> Any:
        columns = [
            frame[name].to_numpy()
            if place not in words
            else pd.Categorical(frame[name], categories=sorted(old[name].dropna().unique())).codes
            for place, name in enumerate(frame.columns)
        ]
        return np.column_stack(columns).astype(float)

    before, after = numbers(old), numbers(new)
    return {
        "TabularDrift": lambda: TabularDrift(before, categories_per_feature=dict.fromkeys(words)).predict(
            after
        ),
        "KSDrift": lambda: KSDrift(before).predict(after),
        "CVMDrift": lambda: CVMDrift(before).predict(after),
    }


def nannyml(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Compare]:
    import nannyml as nml

    texts = [name for name in old.columns if not pd.api.types.is_numeric_dtype(old[name])]
    coded = [frame.astype(dict.fromkeys(texts, "category")) for frame in (old, new)]

    def of(numbers: str, words: str, *, categories: bool = False) -> Compare:
        before, after = coded if categories else (old, new)

        def run() -> object:
            made = nml.UnivariateDriftCalculator(
                column_names=list(old.columns),
                continuous_methods=[numbers],
                categorical_methods=[words],
                chunk_number=10,
            )
            return made.fit(before).calculate(after).to_df()

        return run

    return {
        "Jensen-Shannon": of("jensen_shannon", "jensen_shannon"),
        "Kolmogorov-Smirnov and chi-square of categories": of("kolmogorov_smirnov", "chi2", categories=True),
        "Kolmogorov-Smirnov and chi-square": of("kolmogorov_smirnov", "chi2"),
    }


def evidently(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Compare]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    return {"DataDriftPreset": lambda: Report([DataDriftPreset()]).run(new, old).dict()}


def whylogs(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Compare]:
    import whylogs as why
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    def run() -> object:
        before, after = (why.log(frame).profile().view() for frame in (old, new))
        return calculate_drift_scores(target_view=after, reference_view=before, with_thresholds=True)

    return {"two profiles and drift scores": run}


PEERS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], dict[str, Compare]]] = {
    "alibi-detect": alibi,
    "nannyml": nannyml,
    "evidently": evidently,
    "whylogs": whylogs,
}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
    peer, reference, current = sys.argv[1:]
    old, new = pd.read_parquet(reference), pd.read_parquet(current)
    for name, run in PEERS[peer](old, new).items():
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        spent = {
            "wall_s": round(time.perf_counter() - wall, 3),
            "cpu_s": round(time.process_time() - cpu, 3),
        }
        print(json.dumps({"name": f"{peer}: {name}"} | spent), flush=True)


if __name__ == "__main__":
    main()
