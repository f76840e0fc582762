"""How each column fared, window by window: what pages and reports draw.

Made while judging and kept as one file of aggregates alone, so that looking at a deployment of ten million
predictions reads a few megabytes: about 12 counts and two numbers for each column and window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats import Estimate

if TYPE_CHECKING:
    from holdfast.monitor.family import Tests
    from holdfast.monitor.features import Feature
    from holdfast.monitor.profiling import WindowProfile
    from holdfast.monitor.reference import ReferenceModel

FORMAT: Final = 1
MOST_WINDOWS: Final = 400
"""The newest are kept: a year of days, and more points than a picture has room for."""
_NUMERIC_OUTSIDE: Final = 4
"""Below, above, missing, not finite."""
_TEXT_OUTSIDE: Final = 2
"""Unseen, missing."""


class ColumnHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output through time. Strengths are relative to the alarm at 1, as in `WindowEvidence`."""

    name: str
    role: str
    """`input` or `output`."""
    numeric: bool
    cells: tuple[str, ...]
    """Names of its coarse cells: ranges or categories, then those for what lies outside or is missing."""
    outside: int
    """How many of the cells, at the end, stand for missing, unseen or out-of-range values."""
    reference: tuple[int, ...]
    """Rows of the reference in each cell."""
    counts: tuple[tuple[int, ...], ...]
    """Rows of each window in each cell."""
    data: tuple[float, ...]
    """Evidence that the distribution has changed, by window."""
    concept: tuple[float | None, ...]
    """Evidence that the truth at this column's values has changed; None without labels that count."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All columns of one model version."""

    format: int
    model_version: str
    metric: str
    """Of the quality; empty where there is none."""
    starts: tuple[str, ...]
    """ISO 8601 in UTC, of each window; row numbers where rows have no times."""
    ends: tuple[str, ...]
    rows: tuple[int, ...]
    labelled: tuple[int, ...]
    quality: tuple[Estimate | None, ...]
    """By the labels of each window, with its 95 % interval."""
    reference_quality: Estimate | None
    overall: tuple[float | None, ...]
    """Evidence that the truth has changed overall, by window."""
    columns: tuple[ColumnHistory, ...]


class Recorder:
    """Catches the tests of one judgement, and makes the history of them."""

    def __init__(self) -> None:
        self._data: Sequence[Tests] = ()
        self._concept: Sequence[Tests] = ()
        self._labelled: Sequence[int] = ()

    def tested(self, data: Sequence[Tests], concept: Sequence[Tests], labelled: Sequence[int]) -> None:
        """The families of tests, and the numbers of the windows that those about P(y|x) were made on."""
        self._data, self._concept, self._labelled = data, concept, labelled

    def history(
        self,
        reference: ReferenceModel,
        windows: Sequence[WindowProfile],
        *,
        model_version: str,
        show_time: Callable[[int], str],
        outputs: frozenset[str],
    ) -> History:
        """The history of the newest windows; costs one pass over their counts."""
        from holdfast.monitor.reference import METRICS, quality_of

        first = max(0, len(windows) - MOST_WINDOWS)
        kept = windows[first:]
        every = list(range(len(windows)))
        data = _by_name(self._data, every, len(windows))
        concept = _by_name(self._concept, self._labelled, len(windows))
        none = np.full(len(windows), np.nan)
        columns = tuple(
            _column(
                name,
                feature,
                kept,
                role="output" if name in outputs else "input",
                data=data.get(name, np.zeros(len(windows)))[first:],
                concept=concept.get(name, none)[first:],
            )
            for name, feature in reference.features.items()
        )
        return History(
            format=FORMAT,
            model_version=model_version,
            metric=METRICS[reference.task],
            starts=tuple(show_time(window.start) for window in kept),
            ends=tuple(show_time(window.end) for window in kept),
            rows=tuple(window.rows for window in kept),
            labelled=tuple(window.labelled for window in kept),
            quality=tuple(
                quality_of(reference.task, [window]) if window.labelled else None for window in kept
            ),
            reference_quality=quality_of(reference.task, [reference.whole]),
            overall=_or_none(concept.get("", none)[first:]),
            columns=columns,
        )


def _by_name(
    families: Sequence[Tests], places: Sequence[int], windows: int
) -> dict[str, NDArray[np.float64]]:
    """`[W]` strongest evidence of each feature; NaN in windows without a test."""
    found: dict[str, NDArray[np.float64]] = {}
    for tests in families:
        names = [name for name, _ in tests.names]
        for name in dict.fromkeys(names):
            chosen = np.array([one == name for one in names])
            strongest = tests.strength[:, chosen].max(axis=1, initial=0.0) ** 2
            mine = found.setdefault(name, np.full(windows, np.nan))
            mine[places] = np.fmax(mine[places], strongest)
    return found


def _column(
    name: str,
    feature: Feature,
    windows: Sequence[WindowProfile],
    *,
    role: str,
    data: NDArray[np.float64],
    concept: NDArray[np.float64],
) -> ColumnHistory:
    cells = tuple(test.removeprefix("cell:") for test in feature.tests if test.startswith("cell:"))

    def coarse(counts: NDArray[Any]) -> tuple[int, ...]:
        added = np.bincount(feature.coarse, counts, minlength=len(cells))
        return tuple(int(count) for count in added)

    return ColumnHistory(
        name=name,
        role=role,
        numeric=feature.numeric,
        cells=cells,
        outside=_NUMERIC_OUTSIDE if feature.numeric else _TEXT_OUTSIDE,
        reference=coarse(feature.counts),
        counts=tuple(coarse(window.counts[name]) for window in windows),
        data=tuple(round(float(value), 4) for value in np.nan_to_num(data)),
        concept=_or_none(concept),
    )


def _or_none(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else round(float(value), 4) for value in values)


def write_history(folder: Path, history: History) -> None:
    """Replace the version's file in the monitor's folder; a reader sees the old or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, history.model_version)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(msgspec.msgpack.encode(history))
    unfinished.replace(path)


def read_history(folder: Path, model_version: str) -> History | None:
    """The version's history, or None before its first judgement; one of another release is as none."""
    try:
        found = msgspec.msgpack.decode(_path(folder, model_version).read_bytes(), type=History)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return found if found.format == FORMAT else None


def _path(folder: Path, model_version: str) -> Path:
    return folder / f"{model_version}.history"
