"""How long a first view takes on a deployment with 10 million predictions and 200 features; the limit is 1 s.

    uv run python bench/ui.py

What the pages read is made as large as such a deployment makes it: a history of 400 windows of 200 columns, a
diagnosis with every column in alarm, 50 earlier ones, a ledger of 10 million rows. The log is not even there,
as only Predictions opens it. One line a page: milliseconds of the first and the median of later
views over HTTP, size, and the first view's share of the limit. Then the first view of all at a service that
has just started: so many seconds after it answers, with its dashboard kept ready, and with one that this
view starts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from holdfast.clock import SystemClock, iso_utc
from holdfast.monitor import Coverage, Diagnosis, FeatureFinding, History, Onset, WindowEvidence
from holdfast.monitor.history import FORMAT, ColumnHistory, write_history
from holdfast.prediction_log import Account
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.stats import Estimate

LIMIT_S = 1.0
ROWS = 10_000_000
DAY_US = 86_400_000_000
PAGES = ("/ui/", "/ui/drift", "/ui/column?name=column_007", "/ui/diagnosis", "/ui/versions", "/ui/checklist")
VIEWS = 15
READY_AFTER_S = (15.0, 4.0, 0.0)
"""Long after a dashboard that is kept ready has started, soon after, and before; see `serve.dashboard`."""


def fill(folder: Path, columns: int, windows: int) -> None:
    """What the monitor, the keeper and the registry would have left."""
    (folder / "holdfast.toml").write_text('[model]\nname = "large"\n')
    deployment = Deployment.open(folder, {})
    random = np.random.default_rng(1)
    names = [f"column_{number:03d}" for number in range(columns)]
    starts = [iso_utc(20_000 * DAY_US + number * DAY_US) for number in range(windows + 1)]
    rows = ROWS // windows
    strength = random.exponential(0.3, (columns, windows)) + 20 * (np.arange(windows) > windows * 0.9)
    history = History(
        format=FORMAT,
        model_version="1",
        metric="area under the ROC curve",
        starts=tuple(starts[:-1]),
        ends=tuple(starts[1:]),
        rows=(rows,) * windows,
        labelled=(rows // 2,) * windows,
        quality=(Estimate(0.9, 0.88, 0.92, rows),) * windows,
        reference_quality=Estimate(0.91, 0.9, 0.92, rows),
        overall=(0.5,) * windows,
        columns=tuple(
            ColumnHistory(
                name=name,
                role="input",
                numeric=True,
                cells=(
                    *tuple(f"{cell} to {cell + 1}" for cell in range(8)),
                    "below",
                    "above",
                    "missing",
                    "odd",
                ),
                outside=4,
                reference=(rows // 8,) * 8 + (0,) * 4,
                counts=tuple(map(tuple, random.multinomial(rows, [1 / 12] * 12, windows).tolist())),
                data=tuple(strength[number].round(4).tolist()),
                concept=tuple(strength[number].round(4).tolist()),
            )
            for number, name in enumerate(names)
        ),
    )
    write_history(deployment.monitor_folder, history)
    since = Onset(starts[-40], starts[-38], starts[-37])
    diagnosis = Diagnosis(
        verdict="data drift",
        kinds=("data drift",),
        alarm=True,
        shape="sudden",
        since=since,
        features=tuple(
            FeatureFinding(
                name=name,
                kinds=("data drift",),
                log_e=50.0,
                shift_sd=0.4,
                psi=0.2,
                description=f"{name} higher by 0.40 sd; share of 7 to 8 12.5% → 20.0%",
                since=since.estimate,
            )
            for name in names
        ),
        quality=None,
        coverage=Coverage(
            reference_rows=rows,
            rows=ROWS,
            windows=windows,
            labelled=ROWS // 2,
            label_coverage=0.5,
            unaccounted=0,
        ),
        advice=("Get labels.",),
        summary="Data drift.",
        windows=tuple(
            WindowEvidence(
                start=starts[number],
                end=starts[number + 1],
                rows=rows,
                labelled=rows // 2,
                log_e_data=0.5,
                log_e_concept=0.4,
                alarm=False,
                quality=0.9,
                estimated_quality=Estimate(0.9, 0.88, 0.92, rows),
            )
            for number in range(windows)
        ),
        model_version="1",
    )
    payload = json.loads(diagnosis.to_json())
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        registry.add_version(name="large", sha256="ab" * 32, created_at_us=0, created_by="bench", metadata={})
        registry.promote("1", reason="bench", actor="bench")
        for number in range(50):
            registry.attach_evidence("1", "diagnosis", payload, at_us=1 + number)
    deployment.log_folder.mkdir()
    account = Account(
        at_us=1, served=ROWS, stored=ROWS, spooled=0, sampled_out=0, dropped=0, expired=0, erased=0,
        labels_refused=0, torn_records=0, unaccounted=0, coverage=1.0,
    )  # fmt: skip
    (deployment.log_folder / "account.json").write_bytes(msgspec.json.encode(account))


def view(port: int, path: str) -> tuple[float, int]:
    """Seconds until the last byte, and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.perf_counter()
    connection.request("GET", path, headers={"accept": "text/html"})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return took, len(body)


def first_of_all(folder: Path, dashboard: str, after_s: float) -> tuple[float, float | None]:
    """Seconds of the first view at a service, and MB that its dashboard rested with before."""
    environment = {**os.environ, "HOLDFAST_TARGET__DASHBOARD": dashboard, "HOLDFAST_TARGET__PORT": "0"}
    # The champion has no artifact, so nothing is predicted; pages do not need it.
    command = [sys.executable, "-P", "-m", "holdfast", "serve", "-C", str(folder), "--no-monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as service:
        lines = iter(service.stdout.readline, "") if service.stdout else iter(())
        found = next(
            (one for line in lines if (one := re.search(r"large at http://[^ ]*:(\d+)", line))), None
        )
        if found is None:
            raise SystemExit("the service did not start")
        time.sleep(after_s)
        rests_mb = _own_memory_mb(folder)
        took_s, _ = view(int(found[1]), "/ui/")
        service.terminate()
        for _ in lines:
            pass
    return took_s, rests_mb


def _own_memory_mb(folder: Path) -> float | None:
    """Of the dashboard's process, what it shares with nobody; None where it does not run."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
            if b"ui" in words and b"--socket" in words and str(folder).encode() in words:
                rollup = (process / "smaps_rollup").read_text()
                return sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+)", rollup)) / 1000
        except OSError:
            continue
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--windows", type=int, default=400)
    wanted = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}; limit {LIMIT_S:g} s")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill(folder, wanted.columns, wanted.windows)
        size_mb = (folder / "monitor" / "1.history").stat().st_size / 1e6
        print(f"{wanted.columns} columns, {wanted.windows} windows: history {size_mb:.1f} MB")
        began = time.perf_counter()
        command = [sys.executable, "-P", "-m", "holdfast", "ui", "-C", place, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r":(\d+)/", line)
            if found is None:
                raise SystemExit(f"no address: {line}")
            port = int(found[1])
            print(f"{'start of the process':28}{1000 * (time.perf_counter() - began):8.0f} ms")
            for path in PAGES:
                first_s, size = view(port, path)
                later_s = statistics.median(view(port, path)[0] for _ in range(VIEWS))
                print(
                    f"{path:28}{1000 * first_s:8.0f} ms first{1000 * later_s:8.0f} ms later"
                    f"{size / 1000:8.0f} kB{first_s / LIMIT_S:8.2f} of the limit"
                )
            process.terminate()
        for dashboard, after_s in (*(("ready", after_s) for after_s in READY_AFTER_S), ("asked", 0.0)):
            took_s, rests_mb = first_of_all(folder, dashboard, after_s)
            rests = "" if rests_mb is None else f"; its process rested with {rests_mb:.0f} MB"
            print(
                f"{f'first of all, {dashboard}, {after_s:g} s':28}{1000 * took_s:8.0f} ms"
                f"{took_s / LIMIT_S:28.2f} of the limit{rests}"
            )


if __name__ == "__main__":
    main()
