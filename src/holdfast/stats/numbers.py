"""Columns of numbers as they lie in memory, whatever their type, and which of them are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.compiled import NumbersAt, address_of

_CODES: Final = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
_KINDS: Final = {np.dtype(code): number for number, code in enumerate(_CODES)}
"""In the order in which counting.c numbers them."""
PLAIN_KINDS: Final = frozenset(_KINDS)
"""The types that `Numbers` may be of."""


def truths(bits: NDArray[np.uint8], first: int, rows: int) -> NDArray[np.bool_]:
    """A byte for each of some bits, lowest first, from the one of a number on.

    Example:
        >>> truths(np.array([0b110], dtype=np.uint8), 1, 3).tolist()
        [True, True, False]
    """
    begin = first // 8
    held = np.unpackbits(bits[begin : -(-(first + rows) // 8)], bitorder="little")
    return held[first - 8 * begin :][:rows].view(np.bool_)


@dataclass(frozen=True, slots=True)
class Numbers:
    """N numbers of a plain type, which need not lie beside each other.

    Example:
        >>> held = Numbers(np.array([3, 7, 5, 1], dtype=np.int8), np.array([0b1011], dtype=np.uint8))
        >>> held[1:].doubles().tolist()
        [7.0, nan, 1.0]
    """

    values: NDArray[Any] = field(repr=False)
    """`[N]`, of one of `PLAIN_KINDS`."""
    valid: NDArray[np.uint8] | None = field(default=None, repr=False)
    """A bit for each, lowest first, 0 where none is; None: all are there."""
    first: int = 0
    """Number of the first one's bit."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: slice) -> Numbers:
        """A stretch of them."""
        begin, _, _ = chosen.indices(len(self.values))
        return Numbers(self.values[chosen], self.valid, self.first + begin)

    def doubles(self) -> NDArray[np.float64]:
        """`[N]`, NaN where none is; without a copy where they lie so."""
        found = self.values.astype(np.float64, copy=False)
        if self.valid is None:
            return found
        return np.where(truths(self.valid, self.first, len(found)), found, np.nan)

    @property
    def at(self) -> NumbersAt:
        """What the compiled pass knows of them; they must be held meanwhile."""
        return NumbersAt(
            address_of(self.values),
            _KINDS[self.values.dtype],
            self.values.strides[0],
            address_of(self.valid),
            self.first,
        )
