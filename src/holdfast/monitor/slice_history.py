"""What pages draw of slices: small files of aggregates, one for the table and one for each slice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.history import History
from holdfast.stats import Estimate

FORMAT: Final = 1


class SliceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One slice in one line of a table."""

    column: str
    value: str
    share: float
    """Of the reference's rows."""
    recent_share: float
    """Of the rows of the last window."""
    verdict: str
    kinds: tuple[str, ...]
    description: str
    """Of its strongest finding; empty without any."""
    since: str | None
    rows: int
    data: tuple[float, ...]
    """By window, relative to the alarm at 1, as in `WindowEvidence`."""
    concept: tuple[float | None, ...]
    metric: str
    reference_quality: Estimate | None
    quality: Estimate | None
    """Since the change, else of all labelled rows."""

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.column} = {self.value}"


class SliceHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One slice in full."""

    format: int
    column: str
    value: str
    diagnosis: Diagnosis
    history: History


class _Index(msgspec.Struct, frozen=True):
    format: int
    slices: tuple[SliceSummary, ...]


def slice_key(column: str, value: str) -> str:
    """A short name of a slice for its files, whatever its column and value hold."""
    return hashlib.sha256(f"{column}\0{value}".encode()).hexdigest()[:20]


def write_slices(folder: Path, version: str, found: Sequence[tuple[SliceSummary, SliceHistory]]) -> None:
    """Replace the version's slices in the monitor's folder; the table of them is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    for _, whole in found:
        _write(_path(folder, version, slice_key(whole.column, whole.value)), whole)
    _write(_path(folder, version, ""), _Index(FORMAT, tuple(summary for summary, _ in found)))


def _write(path: Path, content: Any) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(msgspec.msgpack.encode(content))
    unfinished.replace(path)


def read_slices(folder: Path, version: str) -> tuple[SliceSummary, ...]:
    """The version's slices in the order of the checklist; none before the first judgement."""
    try:
        found = msgspec.msgpack.decode(_path(folder, version, "").read_bytes(), type=_Index)
    except (FileNotFoundError, msgspec.MsgspecError):
        return ()
    return found.slices if found.format == FORMAT else ()


def read_slice(folder: Path, version: str, column: str, value: str) -> SliceHistory | None:
    """One slice in full; None where there is none."""
    try:
        raw = _path(folder, version, slice_key(column, value)).read_bytes()
        found = msgspec.msgpack.decode(raw, type=SliceHistory)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return found if found.format == FORMAT else None


def _path(folder: Path, version: str, key: str) -> Path:
    return folder / (f"{version}.{key}.slice" if key else f"{version}.slices")
