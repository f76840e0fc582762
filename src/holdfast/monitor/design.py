"""Columns as one matrix of numbers, for the models that look at several columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import ColumnValues
from holdfast.stats import Coded

Numbers = NDArray[np.float64]
NAMED_WORDS: Final = 12
"""Commonest words of a text column that get a column of their own where a region may be one word."""


@dataclass(frozen=True, slots=True)
class Design:
    """How columns become numbers; fitted on the reference."""

    words: Mapping[str, tuple[str, ...] | None]
    """By column, its words, commonest first; None for numbers."""

    @classmethod
    def fit(cls, columns: Mapping[str, ColumnValues]) -> Design:
        """From the reference's columns."""
        return cls(
            {name: None if _is_number(values) else _ranked(values) for name, values in columns.items()}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the matrix's columns."""
        return tuple(self.words)

    def encode(self, columns: Mapping[str, ColumnValues]) -> Numbers:
        """`[N, D]`: numbers as they are, words by rank, NaN for missing and for words never seen."""
        return np.column_stack([self._codes(name, columns[name]) for name in self.words])

    def spread(self, columns: Mapping[str, ColumnValues]) -> tuple[Numbers, list[tuple[str, str | None]]]:
        """`[N, D']` with one column of 0 and 1 for each common word, and the column and word of each."""
        parts: list[Numbers] = []
        names: list[tuple[str, str | None]] = []
        for name, words in self.words.items():
            codes = self._codes(name, columns[name])
            if words is None:
                parts.append(codes)
                names.append((name, None))
                continue
            for code, word in enumerate(words[:NAMED_WORDS]):
                parts.append((codes == code).astype(np.float64))
                names.append((name, word))
        return np.column_stack(parts), names

    def _codes(self, name: str, values: ColumnValues) -> Numbers:
        words = self.words[name]
        if words is None:
            if _is_number(values):
                numbers = np.asarray(values, dtype=np.float64)
                return np.where(np.isfinite(numbers), numbers, np.nan)
            return np.full(len(values), np.nan)
        rank = {word: float(code) for code, word in enumerate(words)}
        coded = _coded(values)
        # The last place is that of code -1, missing.
        return np.array([*(rank.get(word, np.nan) for word in coded.words), np.nan])[coded.codes]


def _is_number(values: ColumnValues) -> bool:
    return isinstance(values, np.ndarray)


def _coded(values: ColumnValues) -> Coded:
    if isinstance(values, Coded):
        return values
    if isinstance(values, np.ndarray):
        values = [
            None if np.isnan(one) else str(int(one) if float(one).is_integer() else one) for one in values
        ]
    words = tuple(sorted({text for text in values if text is not None}))
    place: dict[str | None, int] = {word: code for code, word in enumerate(words)}
    return Coded(np.array([place.get(text, -1) for text in values], dtype=np.int32), words)


def _ranked(values: ColumnValues) -> tuple[str, ...]:
    coded = _coded(values)
    counts = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.words))
    order = sorted((-int(count), word) for count, word in zip(counts, coded.words, strict=True) if count)
    return tuple(word for _, word in order)
