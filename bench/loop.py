"""The whole loop on real data, over HTTP, by the commands that a user would type.

    uv run python bench/loop.py elec2
    uv run python bench/loop.py fraud_handbook --quick --json

A first model serves; the stream is played in order of time, with labels as they become known. The monitor
looks, `holdfast train --trigger due` makes challengers, `holdfast rollout start` hands each to the policy
of the running service, which alone promotes or sends back. A rollout that would take longer than a cool-down,
as it stands, makes room for a newer challenger (`--supersede`). Near the end of the stream a challenger of
shuffled labels is made: once as everybody would (and must be refused), once with --keep-worse (and must
be sent back by labels). At the end the answers that callers got are held against those of the first model
on the same rows.

With --replay nothing is retrained: the first model answers the whole stream, and `holdfast train replay` says
what the policy, never, monthly and always would have come to.

`[rollout] shadow` and `step` are times of the wall; labels mature in the stream's own time. With --folder a
stream that was cut short by --seconds goes on there in the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pyarrow as pa
from loop_streams import DAY_US, STREAMS, Stream  # type: ignore[import-not-found]  # beside this file
from pyarrow import parquet
from sklearn.ensemble import HistGradientBoostingClassifier

from holdfast.clock import SystemClock, iso_utc
from holdfast.demo.service import ServiceProcess
from holdfast.demo.traffic import LabelToSend, Traffic
from holdfast.prediction_log import settle
from holdfast.registry import Registry
from holdfast.rollout import Comparison, rows_missing, terms_of
from holdfast.score import load
from holdfast.spec import Deployment
from holdfast.stats import StatisticsError, paired_area, paired_mean

SHUFFLED = """\
import numpy as np
import holdfast.train.tabular as tabular
from holdfast.train import DataSet

def train(data):
    labels = DataSet.labels
    DataSet.labels = lambda self, table: np.random.default_rng(7).permutation(labels(self, table))
    return tabular.train(data)
"""
HISTORY = """\
path = "history.parquet"
licence = "own"
basis = "not about people"
kind = "historical"
time = "time"
label = "label"
"""
CONNECTIONS = 4
STATE = "play.pickle"
KEPT = ("waiting", "versions", "scores", "rows", "events", "day", "first_alarm", "rollout", "wrong",
        "promoted_day", "alarm", "errors", "spent_s", "started_day")  # fmt: skip


@dataclass
class Play:
    stream: Stream
    folder: Path
    say: Any
    replays: bool
    until_s: float
    keeps: bool
    """Whether the folder stays, so that a stream that was cut short can go on."""
    waiting: list[tuple[int, str, int]] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    day: float = 0.0
    first_alarm: float | None = None
    rollout: int | None = None
    started_day: float = 0.0
    """Of the open rollout."""
    wrong: str = "not yet"
    promoted_day: float | None = None
    alarm: bool = False
    errors: dict[str, int] = field(default_factory=dict)
    spent_s: float = 0.0

    # Commands

    def holdfast(self, *words: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        command = [sys.executable, "-P", "-m", "holdfast", *words, "-C", str(self.folder)]
        env = {**os.environ, **(environ or {})}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
        return done.returncode, done.stdout, done.stderr

    def must(self, *words: str) -> str:
        code, out, err = self.holdfast(*words)
        if code:
            raise SystemExit(f"holdfast {' '.join(words)} ended with {code}:\n{out}\n{err}")
        return out

    def event(self, what: str, **more: Any) -> None:
        self.events.append({"day": self.day, "what": what, **more})
        self.say(f"day {self.day:5.0f}  {what}  " + "  ".join(f"{k}={v}" for k, v in more.items()))

    # The play

    def run(self) -> dict[str, Any]:
        began_s = time.monotonic()
        state = self.folder / STATE
        if state.exists():
            for name, value in pickle.loads(state.read_bytes()).items():
                setattr(self, name, value)
            self.say(f"day {self.day:5.0f}  going on")
        else:
            self.folder.joinpath("holdfast.toml").write_text(self.stream.checklist)
            self.folder.joinpath("shuffled.py").write_text(SHUFFLED)
            self.register_first()
            self.describe_history()
            self.day = float(self.stream.live_day)
        deployment = Deployment.open(self.folder, {})
        with (
            Registry.open(deployment.registry_url, SystemClock()) as registry,
            ServiceProcess(self.folder, "--no-monitor", "--workers", "1") as service,
            asyncio.Runner() as runner,
        ):
            traffic = Traffic(service.host, service.port, CONNECTIONS)
            while self.day < self.stream.days and time.monotonic() < self.until_s:
                end = float(min(self.day + self.stream.chunk_days, self.stream.days))
                while self.day < end:
                    # An open rollout is looked at as labels come: its bounds hold however often one looks.
                    step = self.stream.chunk_days if self.rollout is None else self.stream.label_days
                    now = min(self.day + step, end)
                    self.play(runner, traffic, self.day, now)
                    self.day = now
                    settle(deployment, SystemClock())
                    if self.rollout is not None and now < end:
                        self.follow(registry)
                if not self.replays:
                    self.look(registry)
            for kind, count in traffic.errors.items():
                self.errors[kind] = self.errors.get(kind, 0) + count
            self.spent_s += time.monotonic() - began_s
            if self.day < self.stream.days and self.keeps:
                state.write_bytes(pickle.dumps({name: getattr(self, name) for name in KEPT}))
                return {"stream": self.stream.name, "cut_short_on_day": self.day}
            if self.replays:
                return self.replayed()
            if self.rollout is not None:
                self.event("the stream ended with the rollout open", rollout=self.rollout)
                self.must("rollout", "rollback", "--reason", "the stream has ended")
            verified = json.loads(self.must("log", "verify", "--json"))
        return self.report(self.errors, verified)

    def register_first(self) -> None:
        stream = self.stream
        learnt, held = stream.rows(0, stream.trained_days), stream.rows(stream.trained_days, stream.live_day)
        trees = HistGradientBoostingClassifier(max_iter=100, random_state=0)
        trees.fit(stream.inputs.slice(0, learnt.stop).to_pandas(), stream.truth[learnt])
        joblib.dump(trees, self.folder / "first.joblib")
        parquet.write_table(stream.table(held), self.folder / "reference.parquet")
        self.must(
            "register", str(self.folder / "first.joblib"), "--trust-pickle",
            "--reference", str(self.folder / "reference.parquet"), "--labels", "label", "--time", "time",
        )  # fmt: skip

    def describe_history(self) -> None:
        """What was known before the service, as a further source: what the first model was made of."""
        sources = self.folder / "sources"
        sources.mkdir()
        known = self.stream.table(self.stream.rows(0, self.stream.live_day))
        parquet.write_table(known, sources / "history.parquet")
        sources.joinpath("history.toml").write_text(HISTORY)

    def play(self, runner: asyncio.Runner, traffic: Traffic, first: float, end: float) -> None:
        stream, rows = self.stream, self.stream.rows(first, end)
        times = stream.time_us[rows].tolist()
        inputs = stream.inputs.slice(rows.start, rows.stop - rows.start).to_pylist()
        records = [
            msgspec.json.encode({**row, "time": iso_utc(at)}) for row, at in zip(inputs, times, strict=True)
        ]
        answers = runner.run(traffic.play(records))
        truth = stream.truth[rows].tolist()
        delay_us = stream.label_delay_days * DAY_US
        for number, (said, at, y) in enumerate(zip(answers, times, truth, strict=True)):
            if said is not None:
                self.rows.append(rows.start + number)
                self.versions.append(said.model_version)
                self.scores.append(said.score)
                # A little before the age at which it counts: a label later than that would count no more.
                heapq.heappush(self.waiting, (at + delay_us - 1_000_000, said.prediction_id, y))
        now_us = int(stream.time_us[0] // DAY_US * DAY_US + end * DAY_US)
        due = []
        while self.waiting and self.waiting[0][0] < now_us:
            known_us, name, y = heapq.heappop(self.waiting)
            due.append(LabelToSend(name, y, iso_utc(known_us)))
        runner.run(traffic.send_labels(due))
        traffic.close()  # commands take longer than the service keeps a silent connection

    def look(self, registry: Registry) -> None:
        if self.rollout is not None:
            self.follow(registry)
        found = json.loads(self.must("monitor", "--json"))
        if found["alarm"] and self.first_alarm is None:
            self.first_alarm = self.day
        if found["alarm"] != self.alarm:
            self.alarm = found["alarm"]
            self.event(
                "alarm" if self.alarm else "quiet", verdict=found["verdict"],
                since=(found.get("since") or {}).get("estimate"),
            )  # fmt: skip
        if self.day >= self.stream.wrong_day:
            if self.wrong == "not yet":
                self.train_wrongly()
            return
        if self.rollout is not None and not self.is_slow(registry):
            return
        code, out, err = self.holdfast("train", "--trigger", "due", "--json")
        if code:
            self.event("training without a challenger", error=err.strip().splitlines()[0][:300])
            return
        report = json.loads(out)
        if report.get("trained") is False:
            return
        self.event("challenger", version=report["version"], **compared(report["comparison"]))
        self.start(report["version"])

    def is_slow(self, registry: Registry) -> bool:
        """Whether the open rollout, as it stands, would take longer than a cool-down until labels approve."""
        now = registry.rollouts.open()
        terms = terms_of(Deployment.open(self.folder, {}).checklist)
        quality = None if now is None else (now.report.get("evidence") or {}).get("quality")
        comparison = None if quality is None else msgspec.convert(quality, Comparison)
        missing = rows_missing(terms, comparison)
        days = self.day - self.started_day - self.stream.label_delay_days
        if missing is None or comparison is None or days <= 0:
            return False
        cool_down = Deployment.open(self.folder, {}).checklist.training.cool_down.seconds / 86_400
        return bool(missing / (comparison.n / days) > cool_down)

    def train_wrongly(self) -> None:
        environ = {"HOLDFAST_TRAINING__TRAINER": "shuffled:train"}
        code, _, err = self.holdfast("train", environ=environ)
        if code == 0 or "surely worse" not in err:
            raise SystemExit(f"a challenger of shuffled labels was not refused: {err}")
        self.event("shuffled labels: refused at registration", error=err.strip().splitlines()[0][:120])
        code, out, err = self.holdfast("train", "--keep-worse", "--json", environ=environ)
        if code:
            raise SystemExit(err)
        report = json.loads(out)
        self.wrong = report["version"]
        self.event("shuffled labels: kept", version=self.wrong, **compared(report["comparison"]))
        self.start(self.wrong)

    def start(self, version: str) -> None:
        words = ["rollout", "start", version, "--json", "--reason", "the stream asks for it"]
        words += ["--waive", "the load of a check would stand in the way of the stream"]
        code, out, err = self.holdfast(*words, *(["--supersede"] if self.rollout is not None else []))
        if code:
            raise SystemExit(err)
        found = json.loads(out)
        if self.rollout is not None:
            self.event("superseded", rollout=self.rollout)
        self.rollout, self.started_day = found["rollout"]["number"], self.day
        flips = (found["contract"] or {}).get("flips") or [{}]
        self.event("rollout", number=self.rollout, version=version, flips=flips[0].get("share"))
        time.sleep(2.0)  # the policy's and the challenger's processes start

    def follow(self, registry: Registry) -> None:
        """Let the policy look at what was just played, and see whether it has decided."""
        asked_us, deadline_s = SystemClock().now_us(), time.monotonic() + 10
        while time.monotonic() < deadline_s:
            now = registry.rollouts.open()
            if now is None or (now.report.get("evidence") or {}).get("now_us", 0) > asked_us + 500_000:
                break
            time.sleep(0.05)
        if registry.rollouts.open() is not None:
            return
        ended = next(one for one in registry.rollouts.all() if one.number == self.rollout)
        reason = registry.rollouts.steps(ended.number)[-1].reason
        self.event(ended.phase, version=ended.challenger, reason=reason)
        if ended.challenger == self.wrong and ended.phase != "rolled back":
            raise SystemExit("a challenger of shuffled labels was not sent back")
        self.rollout = None
        if ended.phase == "promoted" and self.promoted_day is None:
            self.promoted_day = self.day

    # The end

    def replayed(self) -> dict[str, Any]:
        diagnosis = json.loads(self.must("monitor", "--json"))
        found = json.loads(self.must("train", "replay", "--json"))
        return {"stream": self.stream.name, "verdict": diagnosis["verdict"], **found}

    def report(self, errors: dict[str, int], verified: dict[str, Any]) -> dict[str, Any]:
        stream = self.stream
        rows, scores = np.array(self.rows), np.array(self.scores)
        day = (stream.time_us[rows] - stream.time_us[0] // DAY_US * DAY_US) // DAY_US
        with load(self.folder, "1") as first:
            said = first.predict(stream.inputs.take(pa.array(rows))).score
        toml = Deployment.open(self.folder, {}).checklist
        after = day >= (self.promoted_day if self.promoted_day is not None else np.inf)
        return {
            "stream": stream.name,
            "until_day": self.day,
            "answered": len(rows),
            "errors": errors,
            "log_verified": verified.get("ok"),
            "change_day": stream.change_day,
            "first_alarm_day": self.first_alarm,
            "first_promotion_day": self.promoted_day,
            "shuffled": self.wrong,
            "versions_after": sorted(set(np.array(self.versions)[after])),
            "after_first_promotion": quality(
                stream.truth[rows][after], said[after], scores[after], day[after],
                toml.model.threshold or 0.5,
                (toml.monitoring.cost_false_positive or 1.0, toml.monitoring.cost_false_negative or 1.0),
            ) if after.any() else None,
            "events": self.events,
        }  # fmt: skip


def quality(  # noqa: PLR0917 - columns of one table
    y: Any, never: Any, loop: Any, day: Any, threshold: float, costs: tuple[float, float]
) -> dict[str, Any]:
    """Never retraining against the loop, on the same rows; days are taken as one observation each."""

    def losses(score: Any) -> dict[str, Any]:
        chance = np.clip(np.where(y == 1, score, 1 - score), 1e-15, 1)
        positive = score >= threshold
        return {
            "error_rate": (positive != (y == 1)).astype(float),
            "cost_per_row": costs[0] * (positive & (y == 0)) + costs[1] * (~positive & (y == 1)),
            "log_loss": -np.log(chance),
        }

    ours, theirs = losses(loop), losses(never)
    found = {name: paired_mean(theirs[name], ours[name], day) for name in ours}
    with contextlib.suppress(StatisticsError):
        found["roc_auc"] = paired_area(y == 1, never, loop)
    return {
        name: {"never": round(one.first, 4), "loop": round(one.second, 4),
               "difference_95": [round(one.low, 4), round(one.high, 4)]}
        for name, one in found.items()
    } | {"rows": len(y)}  # fmt: skip


def compared(comparison: dict[str, Any]) -> dict[str, Any]:
    main = comparison["main_metric"]
    one = comparison["overall"][main]
    return {"verdict": comparison["verdict"], main: f"{one['champion']:.4f} -> {one['challenger']:.4f}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stream", choices=sorted(STREAMS))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--replay", action="store_true", help="compare policies; nothing is retrained")
    parser.add_argument("--seconds", type=float, default=300, help="after which the stream is cut short")
    parser.add_argument("--folder", type=Path, help="to go on in where an earlier run was cut short")
    parser.add_argument("--quick", action="store_true", help="fewer days or customers")
    parser.add_argument("--json", action="store_true", help="print only the document at the end")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the service is stopped
    began_s = time.monotonic()

    def say(line: str) -> None:
        if not chosen.json:
            print(f"{time.monotonic() - began_s:6.1f} s  {line}", flush=True)

    stream = STREAMS[chosen.stream](chosen.data, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="holdfast-loop-") as passing:
        folder = chosen.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        play = Play(stream, folder, say, chosen.replay, began_s + chosen.seconds, chosen.folder is not None)
        found = play.run()
    found["seconds"] = round(play.spent_s, 1)
    print(json.dumps(found if chosen.json else {k: v for k, v in found.items() if k != "events"}, indent=2))


if __name__ == "__main__":
    main()
