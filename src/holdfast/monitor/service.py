"""The monitor of one deployment: reads the log, closes windows, stores evidence and the diagnosis."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import msgspec

from holdfast.alerts import Alerting
from holdfast.artifact import open_artifact
from holdfast.clock import Clock, iso_utc
from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.diagnosis import Coverage, Diagnosis
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.explaining import Explainer
from holdfast.monitor.following import follow
from holdfast.monitor.held_back import HeldBack
from holdfast.monitor.history import Recorder, write_history
from holdfast.monitor.judge import Settings, judge, mature_labels
from holdfast.monitor.label_arrivals import (
    NEVER,
    Arrivals,
    LabelSpeed,
    label_notes,
    label_speed,
    still_right,
)
from holdfast.monitor.label_faults import RowsOfWindows
from holdfast.monitor.log_rows import OUTPUTS, Translation, read_reference
from holdfast.monitor.log_windows import LogWindows, NewWindows
from holdfast.monitor.older_versions import older_answers
from holdfast.monitor.own_measures import OwnMeasures
from holdfast.monitor.profile_store import ProfileStore
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rows import Rows, rows_within
from holdfast.monitor.slice_history import write_slices
from holdfast.monitor.slices import Slice, fit_slices, judge_slices, slices_in_drift
from holdfast.monitor.telling import tell
from holdfast.monitor.windows import cut, propose_window
from holdfast.prediction_log import PredictionLog
from holdfast.privacy import Sealer
from holdfast.registry import Registry
from holdfast.spec import Deployment, WindowSize

FROZEN_AFTER_DELAYS: Final = 2
"""A window this many label delays old is stored as a profile; labels that come later no longer reach it."""
DIAGNOSIS: Final = "diagnosis"
_LEAST_SLICE_WINDOWS: Final = 5
"""Smallest windows' worth of rows of the reference: what varies by itself is known of fewer no better."""


class Monitor:
    """Judges the champion's windows. Safe to run again at any time, and after a crash.

    Args:
        deployment: read at construction.
        registry: gives the champion; takes the diagnosis as evidence.
        clock: says which windows are closed, unless `[predictions] time_field` makes the newest prediction's
            time the clock.
        sealer: opens encrypted inputs; without it they count as missing.
        explain: whether to work out reasons, as in `diagnose`.
        options: whether to try what could be done about a change, as in `diagnose`.
        alerting: is told of alarms and of their end; without it nobody is.
    """

    def __init__(
        self,
        deployment: Deployment,
        registry: Registry,
        clock: Clock,
        sealer: Sealer | None = None,
        *,
        explain: bool | None = None,
        options: bool = False,
        alerting: Alerting | None = None,
    ) -> None:
        self._alerting = alerting
        self._sealer = sealer
        self._deployment = deployment
        self._registry = registry
        self._clock = clock
        self._explain = explain
        self._options = options
        self._log = PredictionLog(deployment)
        self._fitted: tuple[str, Translation, Explainer] | None = None
        self._slices: list[Slice] = []
        self._slice_notes: list[str] = []
        self._own_digest = ""
        self._held_back = HeldBack()
        self._explained: tuple[Diagnosis, Diagnosis] | None = None

    def run_once(self) -> Diagnosis:
        """Judge every closed window of the present champion.

        Rows still in the spool are not seen; see `prediction_log.settle`.

        Raises:
            MonitorError: there is no champion, or it was registered without a reference.
        """
        version = self._champion()
        translation, explainer = self._reference(version)
        reference = explainer.reference
        settings = self._deployment.checklist.monitoring
        store = ProfileStore(self._deployment.monitor_folder / self._epoch(version))
        # What another release of holdfast measured in another way is made again from the log.
        frozen = list(takewhile(reference.measured_alike, store.read()))
        windows = LogWindows(self._deployment, self._clock, self._sealer, version, translation)
        new = windows.closed(reference.measures, frozen[-1].end if frozen else None)
        rows = windows.arrivals([*frozen, *new.profiles], new.watermark_us)
        speed = self._label_speed(reference, rows)
        settled_us = FROZEN_AFTER_DELAYS * self._label_delay_us(speed)
        if rows is not None and settings.label_delay.microseconds < speed.fair_from_us < NEVER:
            # Stored when it was not known yet how late labels come: they are opened again.
            right = still_right(frozen, rows, lambda one: new.watermark_us - one.end >= settled_us)
            if right < len(frozen):
                frozen = frozen[:right]
                new = windows.closed(reference.measures, frozen[-1].end if frozen else None)
        profiles = [*frozen, *new.profiles]
        if settings.window.duration is None:
            # Nothing waits for late rows before such a window closes.
            settled_us = max(settled_us, settings.lateness.microseconds)
        for profile in new.profiles[: new.apart]:
            if new.watermark_us - profile.end < settled_us:
                break
            store.put(profile)
        diagnosis = self._judge(windows, explainer, profiles, new, speed)

        def rows_of(number: int) -> Rows | None:
            if number < len(frozen):
                return None
            window = profiles[number]
            return windows.sample(window.start, window.end, window.rows)

        diagnosis = explainer.with_estimates(diagnosis, profiles, rows_of)
        diagnosis = self._with_reasons(diagnosis, windows, explainer, profiles)
        self._remember(version, diagnosis)
        if self._alerting is not None:
            tell(self._alerting, diagnosis)
        return diagnosis

    def _with_reasons(
        self,
        diagnosis: Diagnosis,
        windows: LogWindows,
        explainer: Explainer,
        profiles: list[WindowProfile],
    ) -> Diagnosis:
        """Worked out once for each verdict: it takes seconds, and `follow` judges all the time."""
        if self._explain is False:
            return diagnosis
        if self._explained is not None and self._explained[0] == diagnosis:
            return self._explained[1]

        def rows_between(first: int, end: int) -> Rows:
            expected = sum(profile.rows for profile in profiles[first:end])
            return windows.sample(profiles[first].start, profiles[end - 1].end, expected)

        explained = explainer.with_reasons(
            diagnosis,
            rows_between,
            profiles,
            timed=True,
            always=self._explain is True,
            options=self._options,
            versions=lambda rows: older_answers(
                self._deployment, self._registry, windows.version, windows.translation.signature, rows
            ),
        )
        self._explained = (diagnosis, explained)
        return explained

    def follow(self, stop: threading.Event) -> Iterator[Diagnosis]:
        """Judge again and again until `stop` is set; yields each diagnosis that says something new."""
        return follow(self.run_once, self._clock, stop)

    def _champion(self) -> str:
        champion = self._registry.route().champion
        if champion is None:
            raise MonitorError(
                "there is no champion to monitor",
                where=str(self._deployment.folder),
                next_step="holdfast register MODEL --reference FILE --labels COLUMN",
            )
        return champion

    def _epoch(self, version: str) -> str:
        """Profiles are only comparable on one reference and one way of cutting windows."""
        settings = self._deployment.checklist.monitoring
        digests = "".join(f"-{one}" for one in (self._own_digest, self._held_back.digest) if one)
        return f"{version}-{str(settings.window).replace(' ', '')}-{settings.min_rows}{digests}"

    def _reference(self, version: str) -> tuple[Translation, Explainer]:
        if self._fitted is not None and self._fitted[0] == version:
            return self._fitted[1], self._fitted[2]
        path = self._deployment.references_folder / version / "reference.parquet"
        if not path.exists():
            raise MonitorError(
                f"version {version} has no reference to compare with: none was given, or it was dropped",
                where=str(path),
                next_step="Register it again with --reference FILE --labels COLUMN",
            )
        found = self._registry.version(version)
        artifact = open_artifact(self._deployment.artifacts_folder / found.artifact_folder)
        settings = self._deployment.checklist.monitoring
        taken = [*OUTPUTS, *(column.name for column in artifact.signature.columns)]
        own = OwnMeasures.open(self._deployment.folder, settings.own_columns, taken)
        self._own_digest = own.digest
        self._held_back = HeldBack.of(self._deployment.checklist.privacy, artifact.signature)
        translation, rows = read_reference(
            path,
            artifact.signature,
            self._deployment.checklist.logging.audio_rate_hz,
            own,
            self._held_back,
        )
        size = settings.window
        if rows.time_us is None:
            size = propose_window(len(rows), None)
        stretches = cut(len(rows), rows.time_us, size, min_rows=settings.min_rows)
        model = ReferenceModel.fit(translation.task, rows, stretches, OUTPUTS)
        costs = ErrorCosts(
            settings.cost_false_positive,
            settings.cost_false_negative,
            settings.currency,
            artifact.signature.threshold,
        )
        explainer = Explainer.fit(model, rows, translation.answer_column, costs)
        if settings.slices:
            self._slices, self._slice_notes = fit_slices(
                translation.task,
                rows,
                settings.slices,
                lambda some: cut(len(some), some.time_us, size, min_rows=settings.min_rows),
                outputs=OUTPUTS,
                most=settings.most_slices,
                least_rows=_LEAST_SLICE_WINDOWS * settings.min_rows,
            )
        self._fitted = (version, translation, explainer)
        return translation, explainer

    def _judge(
        self,
        windows: LogWindows,
        explainer: Explainer,
        profiles: list[WindowProfile],
        new: NewWindows,
        speed: LabelSpeed,
    ) -> Diagnosis:
        version, reference = windows.version, explainer.reference
        settings = self._deployment.checklist.monitoring
        ledger = self._log.ledger()
        if not profiles:
            return _nothing_yet(settings.window, reference, new.rows, version, ledger.unaccounted)
        recorder = Recorder()
        declared_us = settings.label_delay.microseconds
        declared = mature_labels(new.watermark_us - declared_us)

        def mature(window: WindowProfile) -> bool:
            return declared(window) and new.watermark_us - window.end >= speed.fair_from_us

        def rows_of(numbers: Sequence[int]) -> list[Rows]:
            some = [profiles[number] for number in numbers]
            rows = windows.sample(some[0].start, some[-1].end, sum(one.rows for one in some))
            return [rows_within(rows, one.start, one.end) for one in some]

        held_to = Settings(
            run_length=settings.false_alarms.average_run_length_windows,
            tolerance_sd=settings.tolerance_sd,
            show_time=iso_utc,
            mature=mature,
            model_version=version,
            unaccounted=ledger.unaccounted,
            notes=(
                *filter(None, [self._held_back.note]),
                *self._slice_notes,
                *windows.translation.own.notes,
                *label_notes(profiles, mature, speed, declared_us, new.watermark_us),
            ),
            clock_fault=new.strays,
            rows=RowsOfWindows(explainer.sample, rows_of),
            tested=recorder.tested,
        )
        diagnosis = judge(reference, profiles, held_to)
        settled_us = FROZEN_AFTER_DELAYS * self._label_delay_us(speed)
        said = self._judge_slices(windows, profiles, held_to, new.watermark_us - settled_us)
        if said:
            diagnosis = msgspec.structs.replace(diagnosis, notes=(*diagnosis.notes, said))
        history = recorder.history(
            reference, profiles, model_version=version, show_time=iso_utc, outputs=OUTPUTS
        )
        write_history(self._deployment.monitor_folder, history)
        return diagnosis

    def _judge_slices(
        self,
        windows: LogWindows,
        profiles: list[WindowProfile],
        held_to: Settings,
        settled_until_us: float,
    ) -> str:
        """The parts that the checklist names, and those in drift in words; nothing is read for none."""
        settings = self._deployment.checklist.monitoring
        if not self._slices and not settings.slices:
            return ""
        by_time = settings.window.duration is not None
        found = judge_slices(
            self._slices,
            profiles,
            held_to,
            windows.rows_between,
            folder=self._deployment.monitor_folder / f"{self._epoch(windows.version)}-slices"
            if by_time
            else None,
            frozen=lambda profile: profile.end <= settled_until_us,
            min_rows=settings.min_rows,
        )
        write_slices(self._deployment.monitor_folder, windows.version, found)
        return slices_in_drift([summary for summary, _ in found])

    def _label_speed(self, reference: ReferenceModel, rows: Arrivals | None) -> LabelSpeed:
        """As the log shows it."""
        if reference.concept is None or rows is None:
            return LabelSpeed()
        settings = self._deployment.checklist.monitoring
        return label_speed(
            reference.concept, rows, settings.tolerance_sd, float(settings.label_delay.microseconds)
        )

    def _label_delay_us(self, speed: LabelSpeed) -> float:
        """The declared one, or the longer one that the log shows, where it is known."""
        declared_us = float(self._deployment.checklist.monitoring.label_delay.microseconds)
        return declared_us if speed.fair_from_us == NEVER else max(declared_us, speed.fair_from_us)

    def _remember(self, version: str, diagnosis: Diagnosis) -> None:
        """Evidence is stored once for each thing that is newly known."""
        payload: dict[str, Any] = msgspec.json.decode(diagnosis.to_json())
        last = self._registry.evidence(version, DIAGNOSIS, limit=1)
        if not last or last[0].payload != payload:
            self._registry.attach_evidence(version, DIAGNOSIS, payload)


def _nothing_yet(
    window: WindowSize, reference: ReferenceModel, rows: int, version: str, unaccounted: int
) -> Diagnosis:
    return Diagnosis(
        verdict="too early to tell",
        kinds=(),
        alarm=False,
        shape=None,
        since=None,
        features=(),
        quality=None,
        coverage=Coverage(
            reference_rows=reference.whole.rows,
            rows=0,
            windows=0,
            labelled=0,
            label_coverage=0.0,
            unaccounted=unaccounted,
        ),
        advice=(),
        summary=(
            f"Too early to tell: no window of {window} has closed yet. "
            f"The open one holds {rows} predictions of version {version}."
        ),
        model_version=version,
    )
