"""kill -9 of any process at any moment: what was acknowledged is in the table, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable

from holdfast.clock import SystemClock
from holdfast.prediction_log import Keeper, PredictionLog

WRITER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from log_records import new_writer, redacted
from holdfast.clock import SystemClock
from holdfast.prediction_log import Label, new_prediction_ids
clock = SystemClock()
writer = new_writer(Path(sys.argv[1]), clock, segment_bytes=20_000)
rows = 0
while True:
    ids = new_prediction_ids(1 + rows % 7, clock)
    rows += len(ids)
    writer.append(redacted(ids))
    os.write(1, "".join(f"P{name}\\n" for name in ids).encode())
    if rows % 5 == 0:
        writer.append_labels([Label(ids[0], rows, clock.now_us())])
        os.write(1, f"L{ids[0]}\\n".encode())
    time.sleep(0.005)
"""

KEEPER = """
import sys, threading
from pathlib import Path
from holdfast.clock import SystemClock
from holdfast.prediction_log import Keeper
keeper = Keeper(Path(sys.argv[1]), SystemClock(), interval_s=0.01, batch_bytes=60_000, upkeep_commits=7)
keeper.run(threading.Event(), lambda report: print(report.predictions, flush=True))
"""


class Process:
    """A child whose output is read as it comes."""

    def __init__(self, code: str, log_folder: Path) -> None:
        arguments = [sys.executable, "-c", code, str(log_folder), str(Path(__file__).parent)]
        self.child = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        self.output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        while part := os.read(self.child.stdout.fileno(), 1 << 16):
            self.output += part

    def kill(self) -> list[str]:
        """SIGKILL; the complete lines that it had written."""
        self.child.send_signal(signal.SIGKILL)
        assert self.child.wait() == -signal.SIGKILL
        self._reader.join()
        assert self.child.stdout is not None
        self.child.stdout.close()
        return self.output.decode().split("\n")[:-1]

    def wait_for_output(self) -> None:
        deadline_s = time.monotonic() + 60
        while not self.output:
            assert self.child.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.005)


@pytest.mark.slow
def test_no_acknowledged_row_is_lost_or_doubled_over_twenty_kills(tmp_path: Path) -> None:
    chance = random.Random(20)
    acknowledged: list[str] = []
    running = [Process(WRITER, tmp_path), Process(WRITER, tmp_path), Process(KEEPER, tmp_path)]
    kinds = [WRITER, WRITER, KEEPER]
    try:
        for _ in range(20):
            place = chance.randrange(3)
            running[place].wait_for_output()
            time.sleep(chance.uniform(0, 0.3))
            lines = running[place].kill()
            acknowledged += lines if kinds[place] is WRITER else []
            running[place] = Process(kinds[place], tmp_path)
            DeltaTable(tmp_path / "predictions").to_pyarrow_dataset().count_rows()  # readable after each
    finally:
        for kind, process in zip(kinds, running, strict=True):
            lines = process.kill()
            acknowledged += lines if kind is WRITER else []
    Keeper(tmp_path, SystemClock()).run_once()

    log = PredictionLog(tmp_path)
    stored = Counter(log.predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist())
    labels = Counter(log.labels(history=True).read_all()["prediction_id"].to_pylist())
    promised = Counter(line[1:] for line in acknowledged if line[0] == "P")
    promised_labels = Counter(line[1:] for line in acknowledged if line[0] == "L")
    assert len(promised) > 1000
    assert promised - stored == Counter()
    assert promised_labels - labels == Counter()
    assert set(stored.values()) == {1}
    assert set(labels.values()) == {1}
    verified = log.verify()
    assert verified.ok, verified
    assert verified.ledger.served == stored.total()
