"""A large log: the join of late labels, and the erasure of one subject with its proof.

    uv run python bench/log_scale.py --json                  10 million predictions, 1 million labels
    uv run python bench/log_scale.py --rows 1000000 --json   a tenth of it

The log is made in the layout that the keeper's compaction leaves. Then, each in a process of its own whose
peak memory is taken:

- `join`: each prediction with its last label, all rows read and aggregated (`PredictionLog.query`, 1 GB);
- `erasure`: one subject with rows in every file is erased;
- `proof`: every file of the log is searched, inside compressed columns too, for the subject's pseudonym, the
  ids of its predictions, and a text that only its rows held.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FILE_ROWS = 1_000_000
SUBJECTS = 100_000
MEASURED = """
import json, sys, time
from pathlib import Path
from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, erase, search_bytes
log = Path(sys.argv[1])
began_s = time.perf_counter()
{body}
seconds = time.perf_counter() - began_s
status = Path("/proc/self/status").read_text()
peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
cpu_seconds = round(time.process_time(), 1)
spent = {{"seconds": round(seconds, 1), "cpu_seconds": cpu_seconds, "peak_mb": round(peak_mb)}}
json.dump(spent | result, sys.stdout)
"""
JOIN = """
rows = PredictionLog(log).query(
    "SELECT count(*) AS n, count(y) AS labelled, avg(score) FILTER (y = '1') AS score FROM joined"
).read_all().to_pylist()[0]
result = {"rows": rows["n"], "labelled": rows["labelled"]}
"""
ERASE = """
report = erase(log, SystemClock(), subjects=[sys.argv[2]])
result = {"predictions": report.predictions, "labels": report.labels, "files_removed": report.files_removed}
"""
PROVE = """
found = search_bytes(log, sys.argv[2:])
sizes = [path.stat().st_size for path in log.rglob("*") if path.is_file()]
result = {"found": len(found), "searched_mb": round(sum(sizes) / 1e6)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000_000, help="predictions; a tenth as many labels")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = run(Path(folder), arguments.rows)
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))
    sys.exit(0 if document["proof"]["found"] == 0 and document["before"]["found"] > 0 else 1)


def run(log: Path, rows: int) -> dict[str, Any]:
    made_s = time.perf_counter()
    texts = make_log(log, rows)
    made_s = time.perf_counter() - made_s
    join = measured(JOIN, log, [])
    before = measured(PROVE, log, texts)
    erasure = measured(ERASE, log, texts[:1])
    proof = measured(PROVE, log, texts)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "predictions": rows,
        "made_seconds": round(made_s, 1),
        "join": join,
        "before": before,
        "erasure": erasure,
        "proof": proof,
        "erasure_with_proof_seconds": round(erasure["seconds"] + proof["seconds"], 1),
    }


def measured(body: str, log: Path, texts: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURED.format(body=body), str(log), *texts]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return result


def make_log(log: Path, rows: int) -> list[str]:
    """Tables as the keeper leaves them; the pseudonym of one subject and texts that only its rows hold."""
    import numpy as np
    import pyarrow as pa

    from holdfast.clock import SystemClock
    from holdfast.prediction_log.places import LogPlace
    from holdfast.prediction_log.schema import LABELS, LEDGER, PREDICTIONS, TIME
    from holdfast.prediction_log.tables import LogTable

    random = np.random.default_rng(0)
    place, clock = LogPlace.of(log), SystemClock()
    predictions = LogTable.open_or_create(place.predictions, PREDICTIONS, clock)
    labels = LogTable.open_or_create(place.labels, LABELS, clock)
    ledger = LogTable.open_or_create(place.ledger, LEDGER, clock)
    t0_us = 1_780_000_000_000_000
    pseudonyms = pa.array([random.bytes(16).hex() for _ in range(SUBJECTS)])
    texts = [pseudonyms[7].as_py(), "only in the records of one"]
    for first in range(0, rows, FILE_ROWS):
        n = min(FILE_ROWS, rows - first)
        sequence = np.arange(first, first + n)
        noise = random.bytes(8 * n).hex()
        ids = [f"{s:012x}-{noise[16 * k : 16 * k + 16]}" for k, s in enumerate(sequence.tolist())]
        of = random.integers(0, SUBJECTS, n)
        of[0] = 7
        texts += [ids[place] for place in np.flatnonzero(of == 7)[:3]]
        times = pa.array(t0_us + sequence * 1000).cast(TIME)
        columns = {
            "prediction_id": pa.array(ids),
            "time": times,
            "logged_at": times,
            "deployment": pa.repeat("fraud", n),
            "model_version": pa.repeat("1", n),
            "arm": pa.repeat("champion", n),
            "replica": pa.repeat("w-0", n),
            "sequence": pa.array(sequence),
            "latency_us": pa.array(random.integers(50, 900, n)),
            "sampling_fraction": pa.repeat(1.0, n),
            "subject": pseudonyms.take(pa.array(of)),
            "score": pa.array(random.random(n)),
            "prediction": pa.array(random.integers(0, 2, n)),
            **{
                f"input_f{k}": pa.array(random.normal(size=n).astype(np.float32).astype(float))
                for k in range(3)
            },
            "input_note": pa.array(
                ["only in the records of one" if one == 7 else "-" for one in of.tolist()]
            ),
        }
        predictions.append(pa.table(columns), {})
        late = random.permutation(n)[: n // 10]
        late[0] = 0
        labels.append(
            pa.table(
                {
                    "prediction_id": pa.array(ids).take(pa.array(late)),
                    "y": pa.array(random.integers(0, 2, len(late)).astype(str)),
                    "observed_at": pa.array(np.full(len(late), t0_us + rows * 1000)).cast(TIME),
                    "revision": pa.array(np.arange(len(late)) + t0_us),
                    "replica": pa.repeat("w-0", len(late)),
                    "sequence": pa.array(np.arange(len(late)) + first // 10),
                }
            ),
            {},
        )
    ledger.append(
        pa.Table.from_pylist(
            [
                {
                    "entry": "segment",
                    "replica": "w-0",
                    "number": 0,
                    "deployment": "fraud",
                    "served": rows,
                    "stored": rows,
                    "sampled_out": 0,
                    "dropped": 0,
                    "labels": rows // 10,
                    "torn_records": 0,
                    "torn_bytes": 0,
                    "closed": "ended",
                }
            ],
            schema=LEDGER,
        ),
        {},
    )
    return texts


def as_text(document: dict[str, Any]) -> str:
    lines = [f"{document['predictions']:,} predictions; {document['machine']}; {document['date']}"]
    lines += [f"  {name:<8} {document[name]}" for name in ("join", "erasure", "proof")]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
