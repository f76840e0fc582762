"""Sources in, data set out: filters that count what they leave out, splits, weights, manifest, files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.clock import Clock, iso_utc
from holdfast.prediction_log import PredictionLog, Snapshot, read_snapshot
from holdfast.privacy import SUBJECTS_FILE, Consent, Sealer, SubjectStore, consented
from holdfast.spec import Deployment
from holdfast.spec.checklist import Training
from holdfast.train.errors import DataSetError
from holdfast.train.file_source import FileSource, open_file_source, plan_of
from holdfast.train.log_source import CONTEXT, INPUT, now_of, read_log
from holdfast.train.manifest import (
    SPLITS,
    Manifest,
    Removed,
    Request,
    SourceRecord,
    file_hash,
)
from holdfast.train.rows import (
    ID,
    LABEL,
    LABEL_TIME,
    LOG,
    REVIEWED,
    SOURCE,
    SUBJECT,
    TIME,
    WEIGHT,
    Plan,
    own_schema,
)
from holdfast.train.splitting import split_at_random, split_by_time
from holdfast.train.storing import Built, Draft, store_data_set
from holdfast.train.weighting import for_immaturity, label_arrivals, weighed

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY_MB: Final = 1024


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens and names private values; either may be missing."""

    pseudonym_key: bytes | None = field(default=None, repr=False)
    sealer: Sealer | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Counter:
    """Rows that are still in, and what took the others out."""

    table: Any
    removed: list[Removed] = field(default_factory=list)

    def keep(self, chosen: Any, why: str) -> None:
        import pyarrow as pa

        kept = self.table.filter(pa.array(chosen) if isinstance(chosen, np.ndarray) else chosen)
        self.removed.append(Removed(why, self.table.num_rows - kept.num_rows))
        self.table = kept


def build_data_set(
    deployment: Deployment,
    plan: Plan | None,
    *,
    clock: Clock,
    secrets: Secrets,
    since_us: int | None = None,
    until_us: int | None = None,
    labels_known_by_us: int | None = None,
    as_of_us: int | None = None,
    settings: Training | None = None,
) -> Built:
    """Build a data set from `[training] sources` and store it under `datasets/<hash>`.

    The whole data set is in memory, at about 10 bytes a number. Building the same again gives the same
    folder.

    Args:
        deployment: whose log and checklist.
        plan: features and labels; None: as the first file source says.
        clock: wall time.
        secrets: for encrypted inputs and for files that name people.
        since_us: rows of this time and later.
        until_us: rows before this time.
        labels_known_by_us: labels observed later are not used.
        as_of_us: now, in the time of the rows; None: see `now_of`.
        settings: in place of `[training]`.

    Raises:
        DataSetError: a source cannot be read, or too little is left.
        LeakageError: a feature was observed after its label.
    """
    training = settings or deployment.checklist.training
    log = PredictionLog(deployment)
    files = {name: open_file_source(deployment.folder / name) for name in training.sources if name != LOG}
    if not training.sources:
        raise DataSetError(
            "there is no source of rows", where="[training] sources", expected='such as ["log"]'
        )
    if plan is None:
        plan = plan_of(files, deployment)
    request = Request(
        as_of_us=now_of(deployment, log, clock) if as_of_us is None else as_of_us,
        since_us=since_us,
        until_us=until_us,
        labels_known_by_us=labels_known_by_us,
        consent_as_of_us=clock.now_us(),
        settings=msgspec.to_builtins(training),
        label_delay_us=deployment.checklist.monitoring.label_delay.microseconds,
        features=plan.features,
        task=plan.task,
        classes=plan.classes,
        types={name: str(kind) for name, kind in plan.types.items()},
    )
    snapshot = read_snapshot(log) if LOG in training.sources else None
    return _Build(deployment, request, training, plan, files, snapshot, clock, secrets).run()


def rebuild_data_set(
    deployment: Deployment, manifest: Manifest, *, clock: Clock, secrets: Secrets, folder: Path | None = None
) -> Built:
    """Build again what a manifest describes, from its snapshot of the log and its files.

    Consent is asked as of the same moment as then, but what was erased or has expired since is gone, and the
    hash differs then.

    Args:
        deployment: the same.
        manifest: of the data set.
        clock: wall time.
        secrets: as for building.
        folder: where to store it; None: where it was.
    """
    import pyarrow as pa

    request = manifest.request
    training = msgspec.convert(request.settings, Training)
    plan = Plan(
        request.features,
        request.task,
        request.classes,
        {name: pa.type_for_alias(kind) for name, kind in request.types.items()},
    )
    files = {name: open_file_source(deployment.folder / name) for name in training.sources if name != LOG}
    snapshot = next((one.snapshot for one in manifest.sources if one.snapshot is not None), None)
    return _Build(deployment, request, training, plan, files, snapshot, clock, secrets).run(folder)


@dataclass(slots=True)
class _Build:
    deployment: Deployment
    request: Request
    training: Training
    plan: Plan
    files: Mapping[str, FileSource]
    snapshot: Snapshot | None
    clock: Clock
    secrets: Secrets
    removed: list[Removed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: int = 0
    statements: tuple[Consent, ...] = ()

    def run(self, folder: Path | None = None) -> Built:
        import pyarrow as pa

        self.statements = self._statements()
        tables, sources, unlabelled = [], [], []
        for name in self.training.sources:
            table, record, today = self._from_log() if name == LOG else self._from_file(self.files[name])
            tables.append(table)
            sources.append(record)
            unlabelled.append(today)
        counter = _Counter(pa.concat_tables(tables).sort_by([(TIME, "ascending"), (ID, "ascending")]))
        if not counter.table.num_rows:
            raise self._nothing_left()
        splits = self._split(counter)
        self._check(splits)
        splits |= weighed(splits, pa.concat_tables(unlabelled), self.training, self.request)
        self.removed += counter.removed
        draft = Draft(
            deployment=self.deployment,
            request=self.request,
            plan=self.plan,
            sources=tuple(sources),
            splits=splits,
            removed=tuple(self.removed),
            notes=tuple(self.notes),
            statements=len(self.statements),
            refused_rows=self.refused,
            files_kept=self.secrets.sealer is None,
            clock=self.clock,
        )
        return store_data_set(draft, folder)

    # Sources

    def _statements(self) -> tuple[Consent, ...]:
        if not (self.deployment.folder / SUBJECTS_FILE).exists():
            return ()
        with SubjectStore(self.deployment.folder) as store:
            return tuple(store.consents(self.request.consent_as_of_us))

    def _from_log(self) -> tuple[pa.Table, SourceRecord, pa.Table]:
        request = self.request
        if self.snapshot is None:
            raise DataSetError("the manifest holds no snapshot of the log", where="sources")
        table = read_log(
            PredictionLog(self.deployment),
            self.plan.features,
            snapshot=self.snapshot,
            since_us=request.since_us,
            until_us=request.until_us,
            labels_known_by_us=request.labels_known_by_us,
            review_field=self.training.review_field,
            sealer=self.secrets.sealer,
            memory_mb=_MEMORY_MB,
        )
        asked = self.deployment.checklist.privacy.consent_field
        review = f"{CONTEXT}{self.training.review_field}"
        if review in table.column_names:
            table = table.rename_columns(
                ["reviewed" if name == review else name for name in table.column_names]
            )
        record = SourceRecord(
            name=LOG,
            kind="log",
            licence="own: made by this deployment",
            basis="consent" if asked else self.training.basis or "not stated",
            time_column=TIME,
            rows=table.num_rows,
            snapshot=self.snapshot,
        )
        return *self._filtered(LOG, table, needs_consent=bool(asked)), record, self._today(table)

    def _from_file(self, source: FileSource) -> tuple[pa.Table, SourceRecord, pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc

        request, said = self.request, source.description
        table = source.rows(self.plan, request.label_delay_us, self.secrets.pseudonym_key)
        record = SourceRecord(
            name=source.name,
            kind=said.kind,
            licence=said.licence,
            basis=said.basis,
            time_column=said.time,
            rows=table.num_rows,
            path=os.path.relpath(source.path, self.deployment.folder),
            description_sha256=file_hash(source.description_path),
            sha256=file_hash(source.path),
        )
        times = table.column(TIME).cast(pa.int64())
        counter = _Counter(table)
        counter.keep(times.is_valid(), f"{source.name}: without a time")
        times = counter.table.column(TIME).cast(pa.int64())
        until_us = request.until_us if request.until_us is not None else request.as_of_us
        counter.keep(pc.less(times, until_us), f"{source.name}: after {iso_utc(until_us)[:16]}")
        if request.since_us is not None:
            times = counter.table.column(TIME).cast(pa.int64())
            since = f"{source.name}: before {iso_utc(request.since_us)[:16]}"
            counter.keep(pc.greater_equal(times, request.since_us), since)
        table = counter.table
        self.removed += counter.removed
        filtered = self._filtered(source.name, table, needs_consent=said.basis == "consent")
        return *filtered, record, self._today(table.slice(0, 0))

    def _today(self, table: pa.Table) -> pa.Table:
        """Features of the newest rows, labelled or not: what the model will be asked about."""
        import pyarrow as pa
        import pyarrow.compute as pc

        since = self.request.as_of_us - self.training.test.microseconds
        newest = table.filter(pc.greater_equal(table.column(TIME).cast(pa.int64()), since))
        return pa.table({name: self._feature(newest, name) for name in self.plan.features})

    # Filters

    def _filtered(self, source: str, table: pa.Table, *, needs_consent: bool) -> tuple[pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc

        counter = _Counter(table)
        agreed = self._agreed(table, needs_consent=needs_consent)
        counter.keep(agreed, f"{source}: no consent now")
        self.refused += counter.removed[-1].rows
        training, request = self.training, self.request
        table = counter.table
        times = table.column(TIME).cast(pa.int64()).to_numpy()
        observed = _times(table.column("observed_at"))
        weights = np.ones(table.num_rows)
        labels = self.plan.labels(table.column("y").to_pylist())
        mature = request.as_of_us - times >= request.label_delay_us
        keep = mature
        if training.immature == "correct" and source == LOG and table.num_rows:
            seen = np.where(observed <= request.as_of_us, observed, np.nan)
            curve = label_arrivals(times, seen, request.as_of_us)
            weights = for_immaturity(times, request.as_of_us, request.label_delay_us, curve)
            keep = np.ones(table.num_rows, dtype=bool)
            self.notes.append(
                "labels of young rows are weighed by one over the share that comes by their age"
            )
        said = np.asarray(pc.is_valid(table.column("y")).to_numpy())
        # Of a young row a label from the future tells nothing about how many have come by its age.
        said = said & (mature | (observed <= request.as_of_us))
        valid = np.asarray(labels.is_valid().to_numpy(zero_copy_only=False))
        if training.unlabelled == "negative" and source == LOG:
            labels, filled = self._negative(labels, mature & ~said)
            valid = valid | filled
            said = said | filled
            if filled.any():
                self.notes.append(
                    f"{int(filled.sum())} mature rows of the log without a label count as negative"
                )
        early = np.isfinite(observed) & (observed < times)
        columns: dict[str, Any] = {
            ID: table.column(ID).cast(pa.string()),
            SUBJECT: table.column(SUBJECT).cast(pa.string()),
            TIME: table.column(TIME),
            LABEL: labels,
            LABEL_TIME: table.column("observed_at"),
            WEIGHT: pa.array(weights),
            SOURCE: pa.array([source] * table.num_rows, pa.string()),
            REVIEWED: self._reviewed(table),
        }
        for name in self.plan.features:
            columns[name] = self._feature(table, name)
        schema = own_schema(labels.type)
        whole = pa.table({name: _cast(values, schema, name) for name, values in columns.items()})
        counter.table = whole
        counter.keep(keep, f"{source}: younger than the label delay")
        counter.keep(said[keep], f"{source}: without a label")
        counter.keep(~early[keep & said], f"{source}: label known before the prediction")
        counter.keep(valid[keep & said & ~early], f"{source}: label of no class of the model")
        self.removed += counter.removed
        return (counter.table,)

    def _agreed(self, table: pa.Table, *, needs_consent: bool) -> Any:
        """Whether each row may be used. Where nobody was asked, only a "no" keeps a row out."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = table
        if not needs_consent:
            place = table.column_names.index("consent")
            asked = table.set_column(place, "consent", pa.array([True] * table.num_rows, pa.bool_()))
        agreed = consented(asked, self.statements, self.request.consent_as_of_us)
        return pc.fill_null(agreed, fill_value=False)

    def _negative(self, labels: pa.Array, where: NDArray[np.bool_]) -> tuple[pa.Array, NDArray[np.bool_]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.plan.task != "binary":
            raise DataSetError(
                "only a model of two classes has a negative one",
                where='[training] unlabelled = "negative"',
                received=self.plan.task,
            )
        wanted = self.deployment.checklist.model.positive_class
        names = [str(one) for one in self.plan.classes]
        positive = names.index(wanted) if wanted in names else len(names) - 1
        negative = self.plan.classes[1 - positive]
        return pc.if_else(pa.array(where), pa.scalar(negative, labels.type), labels), where

    def _reviewed(self, table: pa.Table) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if "reviewed" not in table.column_names:
            return pa.array([False] * table.num_rows, pa.bool_())
        return pc.fill_null(table.column("reviewed").cast(pa.bool_()), fill_value=False)

    def _feature(self, table: pa.Table, name: str) -> Any:
        """In the type that the champion takes, where the values allow it."""
        import pyarrow as pa

        if f"{INPUT}{name}" not in table.column_names:
            return pa.nulls(table.num_rows, self.plan.types.get(name, pa.float64()))
        column = table.column(f"{INPUT}{name}")
        kind = self.plan.types.get(name)
        if kind is None or column.type == kind:
            return column
        try:
            return column.cast(kind, safe=not pa.types.is_floating(kind))
        except pa.ArrowInvalid:
            return column.cast(pa.float64()) if pa.types.is_floating(column.type) else column

    # Splits

    def _split(self, counter: _Counter) -> dict[str, pa.Table]:
        import pyarrow as pa

        training = self.training
        table = counter.table
        times = table.column(TIME).cast(pa.int64()).to_numpy()
        if training.split == "random":
            place = split_at_random(table.column(SUBJECT).to_pylist(), training.seed)
            self.notes.append(
                "split at random, as [training] split asks: quality on the test says nothing about the future"
            )
        else:
            gap = self.request.label_delay_us if training.gap is None else training.gap.microseconds
            place = split_by_time(
                times, dev_us=training.dev.microseconds, test_us=training.test.microseconds, gap_us=gap
            ).of(times)
        counter.removed.append(Removed("in a gap between splits", int((place < 0).sum())))
        return {name: table.filter(pa.array(place == number)) for number, name in enumerate(SPLITS)}

    def _check(self, splits: dict[str, pa.Table]) -> None:
        least = self.training.min_rows
        for name, table in splits.items():
            needed = least if name == "train" else max(least // 10, 2)
            if table.num_rows < needed:
                raise DataSetError(
                    f"too few labelled rows in the {name} split",
                    where="[training] min_rows",
                    expected=f"at least {needed}",
                    received=str(table.num_rows),
                    next_step=self._where_they_went(),
                )
            if self.plan.task != "regression" and table.column(LABEL).combine_chunks().unique().__len__() < 2:
                raise DataSetError(
                    f"all labels of the {name} split are alike",
                    where=f"[training] {name}" if name != "train" else "[training]",
                    next_step="Make the split longer, or wait for labels of the other class",
                )

    def _where_they_went(self) -> str:
        most = sorted((one for one in self.removed if one.rows), key=lambda one: -one.rows)[:3]
        return "Left out: " + ("; ".join(f"{one.rows} {one.filter}" for one in most) or "none")

    def _nothing_left(self) -> DataSetError:
        return DataSetError(
            "no labelled row is left to learn from",
            where=", ".join(self.training.sources),
            expected="mature predictions with labels",
            next_step=self._where_they_went(),
        )


def _times(column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa

    numbers = column.cast(pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _cast(values: Any, schema: pa.Schema, name: str) -> Any:
    return values.cast(schema.field(name).type) if name in schema.names else values
