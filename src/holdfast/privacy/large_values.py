"""Large inputs on their way to the log: one file's content per row, as it is or sealed.

A file of a large input is a NumPy `.npy` file (format 1.0), so NumPy alone reads it; or, where the field is
encrypted, `MAGIC`, the length of the `.npy` header (16 bits, little-endian), that header in clear, and the
array's bytes sealed. The header tells type and shape and no more.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAGIC: Final = b"\x93HOLDFAST\x01"
_LENGTH: Final = struct.Struct("<H")
Seal = Callable[[int, bytes, memoryview], bytes]
"""Seals the bytes of a row's value, bound to its header."""


@dataclass(frozen=True, slots=True)
class LargeColumn:
    """One large input of N rows. Nothing is copied or encrypted before a row is asked for."""

    values: NDArray[np.generic] = field(repr=False)
    seal: Seal | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_sealed(self) -> bool:
        """Whether the files can be read by who has the subject's key only."""
        return self.seal is not None

    def parts(self, row: int) -> tuple[bytes | memoryview, ...]:
        """The content of the row's file, in pieces; the array's own bytes are not copied."""
        value = np.ascontiguousarray(self.values[row])
        if not value.dtype.isnative or value.dtype.byteorder == ">":
            value = value.astype(value.dtype.newbyteorder("<"))
        header = _header(value.dtype.str, value.shape)
        content = value.reshape(-1).data.cast("B")
        if self.seal is None:
            return header, content
        return MAGIC, _LENGTH.pack(len(header)), header, self.seal(row, header, content)


def read_large(
    content: bytes, open_sealed: Callable[[bytes, bytes], bytes | None]
) -> NDArray[np.generic] | None:
    """The array of a file's content; None if it is sealed and `open_sealed` cannot open it.

    Args:
        content: of the whole file.
        open_sealed: given the header and the sealed bytes.

    Raises:
        ValueError: it is no such file.
    """
    if content.startswith(MAGIC):
        start = len(MAGIC) + _LENGTH.size
        (length,) = _LENGTH.unpack_from(content, len(MAGIC))
        header = content[start : start + length]
        plain = open_sealed(header, content[start + length :])
        if plain is None:
            return None
        content = header + plain
    value: NDArray[np.generic] = np.load(io.BytesIO(content), allow_pickle=False)
    return value


@lru_cache(maxsize=1024)
def _header(dtype: str, shape: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": tuple(shape)})
    return buffer.getvalue()
