"""The monitor of one deployment: reads the log, closes windows, stores evidence and the diagnosis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.alerts import Alerting
from holdfast.artifact import open_artifact
from holdfast.clock import Clock, iso_utc
from holdfast.monitor.columns import flat_array
from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.counted_windows import CountedWindows
from holdfast.monitor.diagnosis import Coverage, Diagnosis
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.explaining import LARGEST_SAMPLE, Explainer
from holdfast.monitor.following import follow
from holdfast.monitor.history import Recorder, write_history
from holdfast.monitor.judge import Settings, judge
from holdfast.monitor.log_rows import OUTPUTS, Translation, read_reference
from holdfast.monitor.older_versions import older_answers
from holdfast.monitor.own_measures import OwnMeasures
from holdfast.monitor.profile_store import ProfileStore
from holdfast.monitor.profiling import ProfileAdder, WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rows import Rows
from holdfast.monitor.slice_history import write_slices
from holdfast.monitor.slices import Slice, fit_slices, judge_slices, slices_in_drift
from holdfast.monitor.telling import tell
from holdfast.monitor.windows import cut, cut_counted, describe_strays, propose_window, without_strays
from holdfast.prediction_log import PredictionLog
from holdfast.privacy import SEALED, Sealer
from holdfast.registry import Registry
from holdfast.spec import Deployment, WindowSize

if TYPE_CHECKING:
    import pyarrow as pa

FROZEN_AFTER_DELAYS: Final = 2
"""A window this many label delays old is stored as a profile; labels that come later no longer reach it."""
DIAGNOSIS: Final = "diagnosis"
ID: Final = "prediction_id"
_LEAST_SLICE_WINDOWS: Final = 5
"""Smallest windows' worth of rows of the reference: what varies by itself is known of fewer no better."""


@dataclass(frozen=True, slots=True)
class _New:
    """What the log holds beyond the stored profiles."""

    profiles: list[WindowProfile]
    watermark_us: int
    rows: int
    """Of the version, in open windows too."""
    strays: str
    """Rows that a wrong clock dated, in words."""
    apart: int
    """Windows, from the first on, whose end no two rows of one time straddle: they can be told by time."""


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
        since_us = frozen[-1].end if frozen else None
        new = self._new_profiles(translation, version, reference, since_us)
        profiles = [*frozen, *new.profiles]
        settled_us = FROZEN_AFTER_DELAYS * settings.label_delay.microseconds
        if settings.window.duration is None:
            # Nothing waits for late rows before such a window closes.
            settled_us = max(settled_us, settings.lateness.microseconds)
        for profile in new.profiles[: new.apart]:
            if new.watermark_us - profile.end < settled_us:
                break
            store.put(profile)
        diagnosis = self._judge(version, translation, reference, profiles, new)

        def rows_of(number: int) -> Rows | None:
            if number < len(frozen):
                return None
            window = profiles[number]
            return self._sample(translation, version, window.start, window.end, window.rows)

        diagnosis = explainer.with_estimates(diagnosis, profiles, rows_of)
        diagnosis = self._with_reasons(diagnosis, translation, explainer, profiles)
        self._remember(version, diagnosis)
        if self._alerting is not None:
            tell(self._alerting, diagnosis)
        return diagnosis

    def _with_reasons(
        self,
        diagnosis: Diagnosis,
        translation: Translation,
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
            return self._sample(
                translation, diagnosis.model_version, profiles[first].start, profiles[end - 1].end, expected
            )

        explained = explainer.with_reasons(
            diagnosis,
            rows_between,
            profiles,
            timed=True,
            always=self._explain is True,
            options=self._options,
            versions=lambda rows: older_answers(
                self._deployment, self._registry, str(diagnosis.model_version), translation.signature, rows
            ),
        )
        self._explained = (diagnosis, explained)
        return explained

    def _sample(
        self, translation: Translation, version: str | None, since_us: int, until_us: int, expected: int
    ) -> Rows:
        """About twice the rows that are looked at, drawn batch by batch: the stretch may be a year."""
        import pyarrow as pa

        columns = self._columns(translation)
        if ID not in columns:
            columns.append(ID)
        share = min(1.0, 2 * LARGEST_SAMPLE / max(expected, 1))
        kept = []
        reader = self._log.joined(since_us, until_us, columns)
        for batch in reader:
            chosen = pa.Table.from_batches([batch])
            if share < 1.0:
                # By the id, so that every run draws the same rows.
                drawn = [crc32(one.encode()) < share * 2**32 for one in batch.column(ID).to_pylist()]
                chosen = chosen.filter(pa.array(drawn, pa.bool_()))
            kept.append(self._opened(chosen, version))
        table = pa.concat_tables(kept) if kept else self._opened(reader.schema.empty_table(), version)
        return translation.log(table.sort_by(ID))

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
        own = f"-{self._own_digest}" if self._own_digest else ""
        return f"{version}-{str(settings.window).replace(' ', '')}-{settings.min_rows}{own}"

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
        translation, rows = read_reference(
            path, artifact.signature, self._deployment.checklist.logging.audio_rate_hz, own
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

    def _new_profiles(
        self, translation: Translation, version: str, reference: ReferenceModel, since_us: int | None
    ) -> _New:
        """Of closed windows from `since_us` on, batch by batch: in memory that the rows do not fill."""
        settings = self._deployment.checklist.monitoring
        if settings.window.duration is None:
            return self._of_counted_windows(translation, version, reference, since_us)
        length_us = settings.window.duration.microseconds
        numbers, counts, newest_us = self._windows_with_rows(version, since_us, length_us)
        strays = ""
        by_time_field = bool(self._deployment.checklist.predictions.time_field)
        watermark_us = self._clock.now_us()
        if by_time_field:
            # Callers date the rows: one wrong clock must not close windows that are still open.
            low, high = without_strays(numbers, counts, min_rows=settings.min_rows)
            strays = describe_strays(numbers, counts, (low, high), length_us)
            numbers, counts = numbers[low:high], counts[low:high]
            last = int(numbers[-1]) if len(numbers) else None
            watermark_us = (since_us or 0) if last is None else newest_us[last]
        # The window in which the watermark stands is open; a watermark on its last instant closes it.
        closed = (watermark_us + 1 - settings.lateness.microseconds) // length_us
        ready = numbers < closed
        stretches = cut_counted(numbers[ready], counts[ready], length_us, min_rows=settings.min_rows)
        total = int(counts.sum())
        if not stretches:
            return _New([], watermark_us, total, strays, 0)
        adder = ProfileAdder(reference.measures, [(start, end) for start, end, _ in stretches])
        starts = np.array([start for start, _, _ in stretches], dtype=np.int64)
        low_us, high_us = stretches[0][0], stretches[-1][1]
        for rows in self._rows_between(translation, version, low_us, high_us):
            if rows.time_us is not None and len(rows.time_us):
                adder.add(rows, np.searchsorted(starts, rows.time_us, side="right") - 1)
        return _New(list(adder.finish()), watermark_us, total, strays, len(stretches))

    def _rows_between(
        self, translation: Translation, version: str, since_us: int, until_us: int
    ) -> Iterator[Rows]:
        for batch in self._log.joined(since_us, until_us, self._columns(translation)):
            yield translation.log(self._opened(_table(batch), version))

    def _windows_with_rows(
        self, version: str, since_us: int | None, length_us: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[int, int]]:
        """Numbers of the windows that hold rows of the version, how many, and each window's newest time."""
        held: dict[int, int] = {}
        newest_us: dict[int, int] = {}
        for times in self._times(version, since_us):
            found, first, counts = np.unique(times // length_us, return_index=True, return_counts=True)
            for number, at, count in zip(found.tolist(), first.tolist(), counts.tolist(), strict=True):
                held[number] = held.get(number, 0) + count
                last_us = int(times[at + count - 1])
                newest_us[number] = max(newest_us.get(number, last_us), last_us)
        numbers = np.array(sorted(held), dtype=np.int64)
        return numbers, np.array([held[number] for number in numbers.tolist()], dtype=np.int64), newest_us

    def _of_counted_windows(
        self, translation: Translation, version: str, reference: ReferenceModel, since_us: int | None
    ) -> _New:
        """Windows of so many rows: the times of all rows since then say where each ends."""
        settings = self._deployment.checklist.monitoring
        times = np.concatenate([np.empty(0, dtype=np.int64), *self._times(version, since_us)])
        watermark_us = self._clock.now_us()
        if self._deployment.checklist.predictions.time_field:
            watermark_us = int(times.max()) if len(times) else since_us or 0
        windows = CountedWindows.cut(times, settings.window)
        stretches = windows.stretches
        if not stretches:
            return _New([], watermark_us, len(times), "", 0)
        adder = ProfileAdder(reference.measures, [(start, end) for start, end, _ in stretches])
        for rows in self._rows_between(translation, version, stretches[0][0], stretches[-1][1]):
            if rows.time_us is not None and len(rows.time_us):
                number = windows.of(rows.time_us)
                adder.add(rows.take(number >= 0), number[number >= 0])
        return _New(list(adder.finish()), watermark_us, len(times), "", windows.apart)

    def _times(self, version: str, since_us: int | None) -> Iterator[NDArray[np.int64]]:
        """Of the version's rows, batch by batch, rising in each."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [name for name in ("time", "model_version") if name in self._log.schema().names]
        for batch in self._log.predictions(since_us, None, columns):
            chosen = _table(batch)
            if "model_version" in columns:
                chosen = chosen.filter(pc.equal(chosen.column("model_version"), version))
            yield np.sort(flat_array(chosen.column("time").cast(pa.int64()), np.int64))

    def _columns(self, translation: Translation) -> list[str]:
        present = self._log.schema().names
        columns = translation.log_columns(present)
        if self._sealer is not None:
            sealed = (ID, "subject", f"context_{SEALED}")
            columns += [name for name in sealed if name in present and name not in columns]
        return columns

    def _opened(self, table: pa.Table, version: str | None) -> pa.Table:
        """The version's rows, sealed inputs opened where that is allowed."""
        import pyarrow.compute as pc

        if self._sealer is not None:
            table = self._sealer.open_table(table)
        if "model_version" in table.column_names:
            table = table.filter(pc.equal(table.column("model_version"), version))
        return table

    def _judge(
        self,
        version: str,
        translation: Translation,
        reference: ReferenceModel,
        profiles: list[WindowProfile],
        new: _New,
    ) -> Diagnosis:
        settings = self._deployment.checklist.monitoring
        ledger = self._log.ledger()
        if not profiles:
            return _nothing_yet(settings.window, reference, new.rows, version, ledger.unaccounted)
        delay_us = settings.label_delay.microseconds
        notes = []
        if len(reference.windows) < 5:
            notes.append(
                "The reference spans fewer than 5 windows: natural variation between windows is not known."
            )
        recorder = Recorder()
        held_to = Settings(
            run_length=settings.false_alarms.average_run_length_windows,
            tolerance_sd=settings.tolerance_sd,
            show_time=iso_utc,
            mature=lambda profile: (
                profile.end <= new.watermark_us - delay_us or profile.labelled >= 0.9 * profile.rows
            ),
            model_version=version,
            unaccounted=ledger.unaccounted,
            notes=(*notes, *self._slice_notes, *translation.own.notes),
            clock_fault=new.strays,
            tested=recorder.tested,
        )
        diagnosis = judge(reference, profiles, held_to)
        said = self._judge_slices(version, translation, profiles, held_to, new.watermark_us)
        if said:
            diagnosis = msgspec.structs.replace(diagnosis, notes=(*diagnosis.notes, said))
        history = recorder.history(
            reference, profiles, model_version=version, show_time=iso_utc, outputs=OUTPUTS
        )
        write_history(self._deployment.monitor_folder, history)
        return diagnosis

    def _judge_slices(
        self,
        version: str,
        translation: Translation,
        profiles: list[WindowProfile],
        held_to: Settings,
        watermark_us: int,
    ) -> str:
        """The parts that the checklist names, and those in drift in words; nothing is read for none."""
        settings = self._deployment.checklist.monitoring
        if not self._slices and not settings.slices:
            return ""
        frozen_us = FROZEN_AFTER_DELAYS * settings.label_delay.microseconds
        by_time = settings.window.duration is not None
        found = judge_slices(
            self._slices,
            profiles,
            held_to,
            lambda since_us, until_us: self._rows_between(translation, version, since_us, until_us),
            folder=self._deployment.monitor_folder / f"{self._epoch(version)}-slices" if by_time else None,
            frozen=lambda profile: watermark_us - profile.end >= frozen_us,
            min_rows=settings.min_rows,
        )
        write_slices(self._deployment.monitor_folder, version, found)
        return slices_in_drift([summary for summary, _ in found])

    def _remember(self, version: str, diagnosis: Diagnosis) -> None:
        """Evidence is stored once for each thing that is newly known."""
        payload: dict[str, Any] = msgspec.json.decode(diagnosis.to_json())
        last = self._registry.evidence(version, DIAGNOSIS, limit=1)
        if not last or last[0].payload != payload:
            self._registry.attach_evidence(version, DIAGNOSIS, payload)


def _table(batch: pa.RecordBatch) -> pa.Table:
    """A table of one batch."""
    import pyarrow as pa

    return pa.Table.from_batches([batch])


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
