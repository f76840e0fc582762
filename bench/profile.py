"""The full report over two Parquet files, beside a bare binning of the same values.

    uv run python bench/profile.py --quick --json

A reference and a current file, each of 1 000 000 rows, 16 columns of numbers (normal, exponential, bimodal,
log-normal) and 4 of text. The report is `diagnose(reference, current)`: windows, profiles, tests, verdict.
The floor reads the same files, counts every value on 256 bins with `numpy.searchsorted` and `numpy.bincount`,
and does nothing with the counts. Each runs in a process of its own, after start: the clock begins when its
imports are done. Extra memory is the process's peak resident set above what it was then.

    uv run python bench/profile.py --in-memory alibi-detect nannyml

The same report of two tables in memory, beside other libraries, each in an environment of its own that uv
makes; without a name all of them, of which some take minutes. Tables hold numbers and text, the same with a
twentieth missing, numbers alone, whole numbers, or yes and no, in the forms in which programs hold such
tables: one row of the result for each. The others get the same rows and columns, in the form that is theirs.
Every process makes its reports after start, in turn, and medians of all rounds are printed. What the others
do is less: alibi-detect tests each column once (as numbers, words as codes), NannyML one measure a column of
ten chunks, Evidently and whylogs one measure a column; none but holdfast looks for a change's time, for pairs
of columns, for rows delivered twice or for faults.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

NUMERIC, TEXT = 16, 4
PEERS = {
    "alibi-detect": ("alibi-detect", "pandas<3", "pyarrow<20"),
    "nannyml": ("nannyml", "pandas<3", "statsmodels"),
    "evidently": ("evidently", "pandas<3"),
    "whylogs": ("whylogs[viz]", "pandas<3"),
}
FORMS = {
    "numbers and text": (
        "Arrow",
        "Arrow, text as it is",
        "Arrow, many chunks",
        "pandas",
        "pandas, text as read",
        "pandas, text as objects",
        "polars",
        "numpy",
    ),
    "some missing": ("Arrow", "pandas", "pandas, text as read"),
    "numbers": ("Arrow", "pandas", "numpy matrix", "numpy matrix of float32"),
    "whole numbers": ("pandas", "numpy matrix"),
    "yes and no": ("pandas",),
}
"""In what forms tables are compared, by what they hold."""
CHUNK_ROWS = 10_000
LEVELS = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])


def write(path: Path, rows: int, seed: int, held: str = "numbers and text") -> None:
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    words = pa.array([f"word {letter}" for letter in "abcdefghij"])
    texts = TEXT if held in {"numbers and text", "some missing"} else 0
    for number in range(NUMERIC + TEXT - texts):
        if held == "whole numbers":
            columns[f"x{number}"] = random.poisson(4.0, rows)
            continue
        if held == "yes and no":
            columns[f"x{number}"] = random.random(rows) < 0.3
            continue
        form = number % 4
        values = random.normal(size=rows)
        if form == 1:
            values = random.exponential(size=rows)
        elif form == 2:
            values += np.where(random.random(rows) < 0.5, -2.0, 2.0)
        elif form == 3:
            values = np.exp(0.8 * values)
        columns[f"x{number}"] = values
    for number in range(texts):
        codes = pa.array(random.choice(10, rows, p=LEVELS).astype(np.int32))
        columns[f"c{number}"] = pa.DictionaryArray.from_arrays(codes, words).cast(pa.string())
    if held == "some missing":
        import pyarrow.compute as pc

        for name, values in columns.items():
            columns[name] = pc.if_else(pa.array(random.random(rows) >= 0.05), pa.array(values), None)
    parquet.write_table(pa.table(columns), path, row_group_size=1 << 17)


def report(reference: Path, current: Path) -> dict[str, Any]:
    from holdfast.monitor import diagnose

    found = diagnose(str(reference), str(current))
    return {"verdict": found.verdict, "windows": len(found.windows)}


def loaded(path: Path, form: str) -> Any:
    """A table in memory. Words are codes of a dictionary where the form does not say otherwise."""
    import pandas as pd

    if form == "pandas, text as read":
        return pd.read_parquet(path)
    if form == "polars":
        import polars as pl

        return pl.read_parquet(path)
    plain = form in {"Arrow, text as it is", "Arrow, many chunks"}
    text = [name for name in parquet.read_schema(path).names if name.startswith("c")]
    table = parquet.read_table(path, read_dictionary=None if plain else text)
    if form == "Arrow, many chunks":
        return pa.Table.from_batches(table.combine_chunks().to_batches(CHUNK_ROWS))
    if form.startswith("Arrow"):
        return table
    frame = table.to_pandas()
    if form == "pandas, text as objects":
        return frame.astype(dict.fromkeys(text, object))
    if form.startswith("numpy matrix"):
        kind = np.float32 if form.endswith("float32") else None
        return np.ascontiguousarray(frame.to_numpy(), dtype=kind)
    return {name: frame[name].to_numpy() for name in frame} if form == "numpy" else frame


def memory(reference: Path, current: Path, form: str) -> dict[str, Any]:
    """The clock begins when both tables are there."""
    from holdfast.monitor import diagnose

    tables = [loaded(path, form) for path in (reference, current)]
    before_kb = peak_kb()
    wall, cpu = time.perf_counter(), time.process_time()
    diagnose(*tables)
    return {
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(time.process_time() - cpu, 3),
        "extra_peak_mb": round((peak_kb() - before_kb) / 1024, 1),
    }


def beside_peers(peers: list[str], held: str, files: list[Path], rounds: int) -> dict[str, Any]:
    """Of tables that hold one kind of thing the medians of all rounds, a row for each form and each other."""
    spent: dict[str, list[dict[str, float]]] = {}
    troubles = []
    for number in range(rounds):
        for form in FORMS[held]:
            command = [sys.executable, __file__, "--one", "memory", "--form", form]
            done = subprocess.run([*command, "--files", *map(str, files)], capture_output=True, check=True)
            spent.setdefault(f"holdfast: {form}", []).append(json.loads(done.stdout))
        for peer in peers:
            start = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
            for package in (*PEERS[peer], "pyarrow", "pandas"):
                start += ["--with", package]
            script = Path(__file__).with_name("profile_peers.py")
            # -P: this folder has a file with the name of a module that the peers import.
            command = [*start, "python", "-P", str(script), peer, *map(str, files)]
            asked = subprocess.run(command, capture_output=True, check=False, text=True)
            for line in asked.stdout.splitlines():
                if line.startswith('{"name"'):
                    one = json.loads(line)
                    spent.setdefault(one.pop("name"), []).append(one)
            if asked.returncode and not number:
                troubles.append(f"{peer}: {asked.stderr.strip()[-300:]}")
    found = {
        name: {key: round(statistics.median(one[key] for one in some), 3) for key in some[0]}
        for name, some in spent.items()
    }
    others = {name: one for name, one in found.items() if not name.startswith("holdfast")}
    if not others:
        return {"in_memory": found, "troubles": troubles}
    fastest = {key: min(others, key=lambda name: others[name][key]) for key in ("wall_s", "cpu_s")}
    for name, one in found.items():
        if name not in others:
            for key, peer in fastest.items():
                one[f"fastest_other_{key}_times_as_long"] = round(others[peer][key] / one[key], 1)
    return {"in_memory": found, "fastest_other": fastest, "troubles": troubles}


def floor(reference: Path, current: Path) -> dict[str, Any]:
    edges: dict[str, Any] = {}
    counted = 0
    for path in (reference, current):
        for batch in parquet.ParquetFile(path, read_dictionary=[f"c{i}" for i in range(TEXT)]).iter_batches():
            for name in batch.schema.names:
                values = batch.column(name)
                if pa.types.is_dictionary(values.type):
                    counted += int(np.bincount(values.indices.to_numpy()).sum())
                    continue
                numbers = values.to_numpy()
                if name not in edges:
                    edges[name] = np.quantile(numbers, np.arange(1, 256) / 256)
                counted += int(np.bincount(np.searchsorted(edges[name], numbers), minlength=256).sum())
    return {"values": counted}


def peak_kb() -> int:
    """The peak of this program's resident memory; `ru_maxrss` would be that of whoever started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measured(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """In this very process."""
    import scipy.special

    from holdfast.monitor import frames, judge

    del frames, judge
    scipy.special.ndtri(0.5)
    before_kb = peak_kb()
    wall, cpu = time.perf_counter(), time.process_time()
    answer = run()
    return {
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(time.process_time() - cpu, 3),
        "extra_peak_mb": round((peak_kb() - before_kb) / 1024, 1),
    } | answer


def counting() -> str:
    """Whether values are counted in the compiled pass (docs/adr/0050)."""
    from holdfast.stats import compiled_counting

    return "numpy" if compiled_counting() is None else "compiled"


def profile_bytes(reference: Path) -> int:
    """Size of one stored profile of a window of the reference."""
    from holdfast.monitor.columns import column_values
    from holdfast.monitor.profile_store import ProfileStore
    from holdfast.monitor.reference import ReferenceModel
    from holdfast.monitor.rows import Rows

    table = parquet.ParquetFile(reference).read_row_group(0).slice(0, 50_000)
    rows = Rows({name: column_values(table, name) for name in table.column_names})
    model = ReferenceModel.fit("none", rows, [(0, len(rows), slice(0, len(rows)))])
    with tempfile.TemporaryDirectory() as folder:
        ProfileStore(Path(folder)).put(model.windows[0])
        return sum(path.stat().st_size for path in Path(folder).iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of seven")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--in-memory", nargs="*", choices=list(PEERS), help="tables in memory, beside some peers or all"
    )
    parser.add_argument("--one", choices=["report", "floor", "memory"], help=argparse.SUPPRESS)
    parser.add_argument(
        "--held", nargs="*", choices=list(FORMS), help="what tables in memory hold; default all"
    )
    parser.add_argument("--form", default="Arrow", help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run = {"report": report, "floor": floor, "memory": partial(memory, form=arguments.form)}
        print(json.dumps(measured(partial(run[arguments.one], *arguments.files))))
        return
    result: dict[str, Any]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "reference.parquet", Path(folder) / "current.parquet"]
        if arguments.in_memory is not None:
            result = {"rows": 2 * arguments.rows, "columns": NUMERIC + TEXT, "counting": counting()}
            for held in arguments.held or FORMS:
                for seed, path in enumerate(files):
                    write(path, arguments.rows, seed, held)
                peers = arguments.in_memory or list(PEERS)
                result[held] = beside_peers(peers, held, files, 1 if arguments.quick else 3)
            print(json.dumps(result, indent=2))
            return
        for seed, path in enumerate(files):
            write(path, arguments.rows, seed)
        rounds: dict[str, list[dict[str, Any]]] = {"report": [], "floor": []}
        # Interleaved, so that whatever else the machine does falls on both alike.
        for _ in range(3 if arguments.quick else 7):
            for name, done in rounds.items():
                command = [sys.executable, __file__, "--one", name, "--files", *map(str, files)]
                done.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        result = {"rows": 2 * arguments.rows, "columns": NUMERIC + TEXT, "counting": counting()}
        for name, done in rounds.items():
            result[name] = {
                key: statistics.median(one[key] for one in done)
                for key in ("wall_s", "cpu_s", "extra_peak_mb")
            }
        result["report"]["verdict"] = rounds["report"][0]["verdict"]
        result["ratio_of_cpu"] = round(result["report"]["cpu_s"] / result["floor"]["cpu_s"], 2)
        result["profile_bytes"] = profile_bytes(files[0])
    print(json.dumps(result, indent=2 if arguments.json else None))


def _library() -> dict[str, Any]:
    """The standard library's module of this name, which `cProfile` asks for from beside these scripts too."""
    import runpy
    import sysconfig

    return runpy.run_path(str(Path(sysconfig.get_path("stdlib")) / "profile.py"), run_name="profile")


if __name__ == "__main__":
    main()
else:
    globals().update({name: value for name, value in _library().items() if not name.startswith("__")})
