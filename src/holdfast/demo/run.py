"""The whole loop once: train, register, serve, play weeks of traffic, feed labels back, judge, compare."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from holdfast.clock import Clock, SystemClock, iso_utc
from holdfast.demo.agreement import disagreements
from holdfast.demo.replay import LabelQueue, records
from holdfast.demo.report import DemoReport
from holdfast.demo.screen import LiveScreen, Screen, Standing
from holdfast.demo.service import ServiceProcess
from holdfast.demo.traffic import Traffic
from holdfast.demo.world import LABEL, TIME, WorldSettings, make_world
from holdfast.errors import HoldfastError
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.monitor import Diagnosis
    from holdfast.registry import Registry

CHECKLIST: Final = """\
# The checklist of the demonstration. Every other key has its default; `holdfast schema` lists them.
[model]
name = "fraud"

[predictions]
time_field = "time"        # weeks are played in seconds: the time of a prediction is the transaction's own

[speed]
deadline_ms = 5000         # the client, the service and the keeper share this machine

[logging]
commit_interval = "250ms"

[monitoring]
window = "1d"
label_delay = "5d"         # 95 of 100 labels are there by then
slices = ["online"]        # those who buy online, and those who do not, are also judged by themselves
"""
FAST: Final = WorldSettings(training_days=42, reference_days=42, live_days=28, per_day=1000.0)
FULL: Final = WorldSettings(training_days=56, reference_days=56, live_days=42, per_day=3000.0, people=6000)
_CONNECTIONS: Final = 16
_JUDGE_EVERY_DAYS: Final = 2
_LOG_PATIENCE_S: Final = 30.0
_DAY_US: Final = 86_400 * 1_000_000


class DemoError(HoldfastError):
    """The demonstration cannot begin."""


def run_demo(
    *,
    seed: int = 1,
    change: bool = True,
    fast: bool = False,
    folder: Path | None = None,
    headless: bool = False,
    clock: Clock | None = None,
) -> DemoReport:
    """Play one world against the real service and hold the diagnosis against the truth.

    Whatever happens, Ctrl-C and SIGTERM included, the service is stopped and a temporary folder is removed.

    Args:
        seed: which world.
        change: whether behaviour changes overnight in the middle.
        fast: a smaller world, under a minute on 2 cores.
        folder: where to make the deployment and leave it; None: a temporary folder.
        headless: draw nothing.
        clock: of the registry and the log; the traffic's time is the world's own.

    Raises:
        DemoError: the folder holds something already.
        ServiceError: the service did not start or died.
        KeeperBehindError: the log did not catch up with the traffic.
        TrafficError: the service stopped answering.
    """
    screen = Screen() if headless else LiveScreen()
    settings = msgspec.structs.replace(FAST if fast else FULL, seed=seed, change="both" if change else "none")
    with ExitStack() as cleanup:
        cleanup.enter_context(_termination_as_exit())
        if folder is None:
            place = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-")))
        else:
            place = _new_folder(folder)
        cleanup.enter_context(screen)
        run = _Run(settings, place, screen, clock or SystemClock())
        diagnosis = run.play()
    report = run.report(diagnosis, fast=fast, kept=folder)
    screen.finished(report, diagnosis)
    return report


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, as Ctrl-C does, so that no service is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _new_folder(folder: Path) -> Path:
    if folder.exists() and any(folder.iterdir()):
        raise DemoError("the folder is not empty", where=str(folder), next_step="Name a new one with --keep.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Run:
    """One run, phase by phase."""

    def __init__(self, settings: WorldSettings, folder: Path, screen: Screen, clock: Clock) -> None:
        self.settings = settings
        self.folder = folder
        self.screen = screen
        self.clock = clock
        self.began_s = time.monotonic()
        self.timings_s: dict[str, float] = {}
        self.ids: list[str] = []
        """Of all answered predictions, in the order of time."""
        self.labels = 0
        self.unaccounted = 0
        self.verified = False
        self.reference_auc = 0.0
        self.world = make_world(settings)
        self.traffic = Traffic("", 0, 0)

    def play(self) -> Diagnosis:
        """Everything, in order."""
        from holdfast.registry import Registry

        (self.folder / "holdfast.toml").write_text(CHECKLIST)
        deployment = Deployment.open(self.folder, {})
        with Registry.open(deployment.registry_url, self.clock) as registry:
            self._train_and_register(deployment, registry)
            # The monitor is run from here, between two days, so that what it finds can be shown as it builds.
            service = ServiceProcess(self.folder, "--no-monitor")
            with ExitStack() as running:
                with self._phase("start", "Starting the service"):
                    running.enter_context(service)
                self.screen.serving(f"http://{service.host}:{service.port}/")
                self._play_weeks(deployment, registry, service)
                with self._phase("conclude", "Judging all windows and trying what could be done"):
                    diagnosis = self._conclude(deployment, registry)
                self.screen.judged(diagnosis)
                self.screen.ending()
                with self._phase("stop", "Stopping the service"):
                    service.stop()
            with self._phase("verify", "Verifying the log"):
                self._verify(deployment)
            return diagnosis

    def report(self, diagnosis: Diagnosis, *, fast: bool, kept: Path | None) -> DemoReport:
        """What was found, beside what is true."""
        truth = self.world.truth
        wrong = disagreements(truth, diagnosis)
        now = self._standing(self.settings.days - 1)
        return DemoReport(
            seed=self.settings.seed,
            change=bool(truth.kinds),
            fast=fast,
            truth=truth,
            diagnosis=diagnosis.to_dict(),
            agrees=not wrong,
            disagreements=wrong,
            predictions=len(self.ids),
            labels=self.labels,
            unaccounted=self.unaccounted,
            verified=self.verified,
            errors=dict(self.traffic.errors),
            error_texts=tuple(self.traffic.error_texts),
            predictions_per_s=now.predictions_per_s,
            latency_p50_ms=now.latency_p50_ms,
            latency_p99_ms=now.latency_p99_ms,
            reference_auc=self.reference_auc,
            timings_s={**self.timings_s, "total": time.monotonic() - self.began_s},
            folder=None if kept is None else str(kept),
        )

    def _train_and_register(self, deployment: Deployment, registry: Registry) -> None:
        with self._phase("train", f"Training a model on {self.settings.training_days} days of transactions"):
            from holdfast.demo import training

            model = training.train(self.world)
            reference = training.reference(self.world)
            self.reference_auc = training.area_under_curve(model, reference)
        rows = f"{reference.num_rows:,} later transactions"
        text = f"Registering it with {rows} as reference (AUC {self.reference_auc:.3f})"
        with self._phase("register", text):
            from holdfast.registry import register_model

            register_model(
                deployment,
                registry,
                model,
                reference=reference,
                labels=LABEL,
                time=TIME,
                clock=self.clock,
            )

    def _play_weeks(self, deployment: Deployment, registry: Registry, service: ServiceProcess) -> None:
        from holdfast.monitor import Monitor
        from holdfast.prediction_log import settle

        monitor = Monitor(deployment, registry, self.clock)
        settings = self.settings
        self.screen.phase(f"Playing {settings.live_days} days of traffic over HTTP")
        self.traffic = Traffic(service.host, service.port, _CONNECTIONS)
        waiting = LabelQueue()
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            try:
                for day in range(settings.first_live_day, settings.days):
                    service.check()
                    with self._timed("traffic"):
                        self._play_day(runner, day, waiting)
                    self.screen.standing(self._standing(day))
                    if (day - settings.first_live_day) % _JUDGE_EVERY_DAYS == _JUDGE_EVERY_DAYS - 1:
                        # A day passes in less than the keeper's interval here: without this, windows would
                        # close before their last rows are stored, which really befalls only rows hours late.
                        with self._timed("keeper"):
                            settle(deployment, self.clock, timeout_s=_LOG_PATIENCE_S)
                        with self._timed("monitor"):
                            self.screen.judged(monitor.run_once())
            finally:
                self.traffic.close()

    def _play_day(self, runner: asyncio.Runner, day: int, waiting: LabelQueue) -> None:
        rows = self.world.rows(day, day + 1)
        answers = runner.run(self.traffic.play(records(self.world, rows)))
        ids = [None if one is None else one.prediction_id for one in answers]
        self.ids += [one for one in ids if one is not None]
        waiting.add(self.world, rows, ids)
        due = waiting.take(self._midnight_us(day + 1))
        self.labels += runner.run(self.traffic.send_labels(due))

    def _conclude(self, deployment: Deployment, registry: Registry) -> Diagnosis:
        """While the service still runs: its dashboard tells the end of the story."""
        from holdfast.monitor import Monitor
        from holdfast.prediction_log import settle

        settle(deployment, self.clock, timeout_s=_LOG_PATIENCE_S)
        return Monitor(deployment, registry, self.clock, options=True).run_once()

    def _verify(self, deployment: Deployment) -> None:
        from holdfast.prediction_log import PredictionLog, settle

        settle(deployment, self.clock)
        log = PredictionLog(deployment)
        stored: Any = log.predictions(columns=["prediction_id"]).read_all()
        held = set(stored["prediction_id"].to_pylist())
        self.unaccounted = sum(one not in held for one in self.ids) + log.ledger().unaccounted
        self.verified = log.verify().ok

    def _standing(self, day: int) -> Standing:
        latencies_ms = np.array(self.traffic.latencies_s or [0.0]) * 1000
        p50, p99 = np.quantile(latencies_ms, [0.5, 0.99])
        busy_s = self.traffic.busy_s
        return Standing(
            day=day - self.settings.first_live_day + 1,
            days=self.settings.live_days,
            date=iso_utc(self._midnight_us(day))[:10],
            predictions=len(self.ids),
            labels=self.labels,
            errors=self.traffic.errors.total(),
            predictions_per_s=len(self.ids) / busy_s if busy_s else 0.0,
            latency_p50_ms=float(p50),
            latency_p99_ms=float(p99),
        )

    def _midnight_us(self, day: int) -> int:
        return self.world.start_us + day * _DAY_US

    @contextmanager
    def _phase(self, name: str, text: str) -> Iterator[None]:
        self.screen.phase(text)
        with self._timed(name):
            yield

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.monotonic() - began


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
