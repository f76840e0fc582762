"""The spool: where a prediction is written before its answer leaves.

One writer per process, one segment at a time, one `write` system call per batch of rows. What `write` has
taken survives the death of the process; `sync` makes it survive the loss of power.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import Table
from holdfast.clock import Clock
from holdfast.files import sync_file
from holdfast.prediction_log.blocks import (
    ENCODER,
    TABLE_CODE,
    Close,
    Counters,
    Header,
    LabelBlock,
    PredictionBlock,
    pack_array,
    pack_integers,
    select_rows,
    storable_text,
)
from holdfast.prediction_log.errors import LogFullError, PredictionLogError
from holdfast.prediction_log.frames import HEADER_BYTES, MAX_PAYLOAD_BYTES, seal
from holdfast.prediction_log.labels import Label, label_text
from holdfast.prediction_log.large_store import LargeWriter, sync_contents
from holdfast.prediction_log.layouts import Layouts
from holdfast.prediction_log.ready_frames import ReadyFrames
from holdfast.prediction_log.sampling import sampled_rows
from holdfast.prediction_log.segments import SegmentFile, header_with, new_replica_id, spool_folder
from holdfast.privacy import FEATURE, RedactedRecord, Values

_REOPEN_AFTER_S: Final = 0.25
_LARGEST_KEPT_BUFFER_BYTES: Final = 1 << 20
_SPACE_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN})
"""Errors that may pass by themselves; any other at the start is a mistake of the set-up and is raised."""

_NOTHING_LARGE: Final[Mapping[str, Values]] = {}


class SpoolWriter:
    """Appends answered rows and labels to the log of one deployment; safe to call from several threads.

    The counters `served`, `stored`, `sampled_out` and `dropped` count rows since this writer was made, and
    `served == stored + sampled_out + dropped` whenever no call is under way. `refused` counts rows for which
    `append` raised `LogFullError`: they were not answered. `labels` counts labels.

    Args:
        log_folder: the log's folder; the spool is made in it.
        replica: name of the process, such as `worker-0`; a random part makes it unique for each start.
        durability: "process" survives kill -9; with "synced", call `sync` before the answer leaves.
        segment_bytes: size from which a new segment is begun.
        sampling_fraction: share of predictions stored, decided by the hash of each prediction id.
        large_fraction: share of the stored predictions whose large inputs are stored too, decided alike.
        on_full: "answer" counts what cannot be written, "refuse" raises `LogFullError`.
        device: stored with each row.

    Raises:
        PredictionLogError: the spool's folder cannot be made or written at all.
    """

    def __init__(
        self,
        log_folder: Path,
        *,
        deployment: str,
        replica: str,
        clock: Clock,
        durability: Literal["process", "synced"] = "process",
        segment_bytes: int = 16 * 1024 * 1024,
        sampling_fraction: float = 1.0,
        large_fraction: float = 1.0,
        on_full: Literal["answer", "refuse"] = "answer",
        device: str | None = None,
    ) -> None:
        self.deployment = deployment
        self.replica = new_replica_id(replica)
        self.served = self.stored = self.sampled_out = self.dropped = 0
        self.refused = 0
        self.labels = 0
        self.unsynced = 0
        """Times that `sync` failed and the answer left all the same."""
        self.log_folder = log_folder
        self._spool = spool_folder(log_folder)
        self.large = LargeWriter(log_folder, self.replica, synced=durability == "synced")
        """Of inputs that are stored beside the tables."""
        self._clock = clock
        self._synced_mode = durability == "synced"
        self._segment_bytes = segment_bytes
        self._sampling_fraction = sampling_fraction
        self._large_fraction = large_fraction
        self._on_full = on_full
        self._device = device
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._appends = 0
        self._synced_appends = 0
        self._retired: list[SegmentFile] = []
        self._folder_synced = False
        self._buffer = bytearray(HEADER_BYTES)
        self._layouts = Layouts()
        self._ready = ReadyFrames(deployment, sampling_fraction, device)
        self._segment: SegmentFile | None = None
        self._next_number = 0
        self._reopen_at_s = 0.0
        self._closed = False
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._segment = self._open_segment()
        except OSError as error:
            if error.errno not in _SPACE_ERRORS:
                raise PredictionLogError(
                    f"the log cannot be written: {error.strerror}",
                    where=str(self._spool),
                    next_step="Give the service a folder that it may write, or change [logging] path",
                ) from error

    @property
    def counters(self) -> Counters:
        """The counters, as they stand in the log."""
        return Counters(self.served, self.stored, self.sampled_out, self.dropped, self.labels)

    def spool_size(self) -> tuple[int, int]:
        """Segments in the spool, of all writers, and their bytes: what the keeper has still to take."""
        sizes = []
        for path in self._spool.glob("*.spool"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def append(self, record: RedactedRecord) -> None:
        """Write the rows. When this returns they survive the death of the process (see `sync` for more).

        Raises:
            LogFullError: they cannot be written and `on_full` is "refuse"; the rows must not be answered.
        """
        if type(record) is not RedactedRecord:
            raise TypeError(f"only a RedactedRecord can be logged, not {type(record).__name__}")
        ids = record.raw.prediction_ids
        n = len(ids)
        if n == 0:
            return
        with self._lock:
            keep = None if self._sampling_fraction >= 1.0 else sampled_rows(ids, self._sampling_fraction)
            n_stored = n if keep is None else len(keep)
            served, stored = self.served + n, self.stored + n_stored
            sampled_out = self.sampled_out + n - n_stored
            try:
                if n_stored:
                    after = Counters(served, stored, sampled_out, self.dropped, self.labels)
                    if record.large:
                        self._write_with_large(record, keep, after)
                    elif keep is not None or not self._write_ready(record, after):
                        self._write("P", self._prediction_block(record, keep, after))
                    self.stored = stored
            except OSError as error:
                if self._on_full == "refuse":
                    self.refused += n
                    raise _full(error, self._spool) from error
                self.dropped += n_stored
            self.served = served
            self.sampled_out = sampled_out
            if self.stored != stored or not n_stored:
                self._count_in_header()

    def _write_with_large(
        self, record: RedactedRecord, keep: NDArray[np.intp] | None, after: Counters
    ) -> None:
        """First the contents, then the rows that name them; for all of it nothing is removed."""
        ids = record.raw.prediction_ids
        chosen = sampled_rows(ids, self._sampling_fraction * self._large_fraction)
        wanted = np.full(len(ids), chosen is None)
        if chosen is not None:
            wanted[chosen] = True
        with self.large.using():
            hashes = self.large.put_all(record.large, wanted.tolist())
            self._write("P", self._prediction_block(record, keep, after, hashes))

    def append_labels(self, labels: Sequence[Label]) -> None:
        """Write the labels. When this returns they survive the death of the process.

        Raises:
            LogFullError: they cannot be written; whatever the policy, a label is never dropped in silence.
        """
        if not labels:
            return
        with self._lock:
            counted = self.labels + len(labels)
            block = LabelBlock(
                Counters(self.served, self.stored, self.sampled_out, self.dropped, counted),
                len(labels),
                self._clock.now_us(),
                [label.prediction_id for label in labels],
                [label_text(label.y) for label in labels],
                [label.observed_at_us for label in labels],
            )
            try:
                self._write("L", block)
            except OSError as error:
                raise _full(error, self._spool) from error
            self.labels = counted

    def sync(self) -> None:
        """With durability "synced": return once all that was appended before is on the disk; else do nothing.

        Blocks for one flush of the disk. Calls that come meanwhile share the next one. It never holds up
        `append`.

        Raises:
            LogFullError: the disk refuses and `on_full` is "refuse".
        """
        if not self._synced_mode:
            return
        target = self._appends
        with self._sync_lock:
            if self._synced_appends >= target:
                return
            with self._lock:
                now = self._appends
                segment, retired, self._retired = self._segment, self._retired, []
                large = self.large.take_unsynced()
            try:
                sync_contents(large)
                self._flush(segment, retired)
            except OSError as error:
                if segment is not None:
                    segment.broken = True  # what the kernel has dropped cannot be flushed again
                self.unsynced += 1
                if self._on_full == "refuse":
                    raise _full(error, self._spool) from error
            self._synced_appends = now

    def _flush(self, segment: SegmentFile | None, retired: Iterable[SegmentFile]) -> None:
        try:
            for old in retired:
                os.fdatasync(old.fd)
        finally:
            for old in retired:
                old.close()
        if segment is not None and segment.fd >= 0:
            os.fdatasync(segment.fd)
        if not self._folder_synced:
            for folder in (self._spool, self._spool.parent, self._spool.parent.parent):
                sync_file(folder)
            self._folder_synced = True

    def close(self) -> None:
        """End the replica and leave its segment to the keeper. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._segment is not None:
                self._retire(self._segment, ended=True)
                self._segment = None
            self.large.close()
        if self._synced_mode:
            with self._sync_lock:
                retired, self._retired = self._retired, []
                sync_contents(self.large.take_unsynced())
                self._flush(None, retired)

    def _write(self, kind: str, block: msgspec.Struct) -> None:
        """One frame in one system call.

        Raises:
            OSError: it was not written, and the segment is as it was.
        """
        buffer = self._buffer
        try:
            ENCODER.encode_into(block, buffer, HEADER_BYTES)
        except (OverflowError, UnicodeEncodeError):
            ENCODER.encode_into(_cleaned(block), buffer, HEADER_BYTES)
        if len(buffer) > MAX_PAYLOAD_BYTES:
            self._buffer = bytearray(HEADER_BYTES)
            raise OSError(errno.EFBIG, f"a batch of {len(buffer)} bytes is too large for one record")
        segment = self._writable_segment()
        seal(buffer, kind, segment.seed)
        segment.append(buffer)
        self._appends += 1
        if len(buffer) > _LARGEST_KEPT_BUFFER_BYTES:
            self._buffer = bytearray(HEADER_BYTES)

    def _write_ready(self, record: RedactedRecord, after: Counters) -> bool:
        """Write a usual record, of which all rows are stored; False: it is none, and nothing was written.

        Raises:
            OSError: it was not written, and the segment is as it was.
        """
        segment = self._writable_segment()
        frame = self._ready.filled(record, after, self._clock.now_us(), segment.seed)
        if frame is None:
            return False
        segment.append(frame)
        self._appends += 1
        return True

    def _writable_segment(self) -> SegmentFile:
        if self._closed:
            raise PredictionLogError("the log writer is closed", where=str(self._spool))
        segment = self._segment
        if segment is not None and not segment.broken and segment.size_bytes < self._segment_bytes:
            return segment
        now_s = self._clock.monotonic_s()
        usable = segment is not None and not segment.broken
        if now_s < self._reopen_at_s and not usable:
            raise OSError(errno.ENOSPC, "no segment could be opened a moment ago")
        if now_s >= self._reopen_at_s:
            try:
                fresh = self._open_segment()
            except OSError:
                self._reopen_at_s = now_s + _REOPEN_AFTER_S
                if not usable:
                    raise
            else:
                if segment is not None:
                    self._retire(segment, ended=False)
                self._segment = segment = fresh
        assert segment is not None  # noqa: S101 - either it was usable or it is fresh
        return segment

    def _open_segment(self) -> SegmentFile:
        header = Header(self.deployment, self.replica, self._next_number, self._clock.now_us(), b"")
        segment = SegmentFile.create(self._spool, header_with(header, self.counters))
        self._next_number += 1
        self._folder_synced = False
        return segment

    def _retire(self, segment: SegmentFile, *, ended: bool) -> None:
        if not segment.broken:
            frame = bytearray(HEADER_BYTES)
            ENCODER.encode_into(Close(self.counters, self._clock.now_us(), ended), frame, HEADER_BYTES)
            seal(frame, "C", segment.seed)
            try:
                segment.append(frame)
            except OSError:
                self._count_in_header(segment)
        if self._synced_mode:
            self._retired.append(segment)  # closed once it is on the disk
        else:
            segment.close()

    def _count_in_header(self, segment: SegmentFile | None = None) -> None:
        """Keep counters that no frame carries: rows sampled out, and rows that could not be written."""
        segment = segment or self._segment
        if segment is not None:
            try:
                segment.rewrite_header(self.counters)
            except OSError:
                return  # the next frame that can be written carries them

    def _prediction_block(
        self,
        record: RedactedRecord,
        keep: NDArray[np.intp] | None,
        after: Counters,
        large: Mapping[str, Values] = _NOTHING_LARGE,
    ) -> PredictionBlock:
        raw = record.raw
        n = len(record)
        codes: list[str] = []
        shapes: list[tuple[int, ...]] = []
        columns: list[Any] = []
        extra: dict[str, Values] = {}
        if len(raw.prediction):
            extra["prediction"] = raw.prediction
        if raw.score is not None:
            extra["score"] = raw.score
        if raw.probabilities is not None:
            extra["probabilities"] = raw.probabilities
        if large or record.features:
            extra |= large
            extra |= {f"{FEATURE}{name}": values for name, values in record.features.items()}
        for fields in (record.inputs, record.context, raw.outputs, extra):
            if keep is None and type(fields) is Table:  # the usual inputs, and the usual number of them
                if fields.matrix.shape != (len(fields.names), n):
                    raise ValueError(f"{n} values per column are needed, not {fields.matrix.shape}")
                codes += [TABLE_CODE] * len(fields.names)
                columns += fields.column_bytes()
                continue
            for name, values in fields.items():
                if len(values) != n:
                    raise ValueError(f"{name}: {n} values are needed, not {len(values)}")
                kept = values if keep is None else select_rows(values, keep)
                if isinstance(kept, np.ndarray):
                    code, column = pack_array(kept)
                    if kept.ndim > 1:
                        shapes.append((len(codes), *kept.shape[1:]))
                    codes.append(code)
                    columns.append(column)
                else:
                    codes.append("")
                    columns.append(kept)
        key = (
            record.inputs.names if type(record.inputs) is Table else tuple(record.inputs),
            tuple(record.context),
            tuple(raw.outputs),
            tuple(extra),
            tuple(codes),
            tuple(shapes),
        )
        return self._block(record, keep, after, (self._layouts.layout(key), columns))

    def _block(
        self,
        record: RedactedRecord,
        keep: NDArray[np.intp] | None,
        after: Counters,
        packed: tuple[msgspec.Raw, Any],
    ) -> PredictionBlock:
        raw = record.raw
        layout, columns = packed
        chosen: Callable[[Any], Any] = (lambda v: v) if keep is None else (lambda v: select_rows(v, keep))
        return PredictionBlock(
            counters=after,
            rows=len(raw.prediction_ids) if keep is None else len(keep),
            logged_at_us=self._clock.now_us(),
            deployment=self.deployment,
            model_version=raw.model_version,
            arm=raw.arm,
            sampling_fraction=self._sampling_fraction,
            device=self._device,
            layout=layout,
            prediction_ids=chosen(raw.prediction_ids),
            times_us=pack_integers(chosen(raw.times_us)),
            latency_us=pack_integers(chosen(raw.latency_us)),
            subject=None if record.subject is None else chosen(record.subject),
            consent=None if record.consent is None else chosen(record.consent),
            columns=columns,
        )


def _cleaned(block: msgspec.Struct) -> msgspec.Struct:
    """The same block with texts and integers that can be stored; rare, so it may be slow."""
    ids = getattr(block, "prediction_ids")  # noqa: B009 - of all structs only those with ids hold callers' values
    changes: dict[str, Any] = {"prediction_ids": storable_text(ids)}
    if isinstance(block, PredictionBlock) and isinstance(block.columns, list):
        changes["columns"] = [
            column if isinstance(column, bytes | memoryview) else storable_text(column)
            for column in block.columns
        ]
    if isinstance(block, LabelBlock):
        changes["y"] = storable_text(block.y)
    return msgspec.structs.replace(block, **changes)


def _full(error: OSError, spool: Path) -> LogFullError:
    return LogFullError(
        f"the prediction log cannot be written: {error.strerror or error}",
        where=str(spool),
        next_step='Free space on its disk. With [logging] on_full = "answer" the service answers meanwhile',
    )
