"""The binary tensor extension of protocol v2: tensors as bytes behind the JSON.

Little-endian, row-major, no padding. BOOL is one byte. BYTES is a length of 4 bytes and as many bytes, for
each element. https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.signature import Dtype
from holdfast.infer import InputError

_LENGTH: Final = struct.Struct("<I")
_WIRE: Final[dict[Dtype, np.dtype[Any]]] = {
    "bool": np.dtype(np.uint8),
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "int8": np.dtype("<i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
"""Types on the wire; text has no fixed size and is not here."""


def read_tensor(dtype: Dtype, data: memoryview, shape: list[int], path: str) -> NDArray[Any]:
    """A tensor as a view on the bytes, not a copy. BOOL is checked and viewed as booleans.

    Args:
        dtype: not `string`.
        data: exactly the tensor's bytes.
        shape: sizes of at least 0.
        path: to the tensor's bytes, for errors.

    Raises:
        InputError: the bytes do not fill the shape, or a BOOL is neither 0 nor 1.
    """
    wire = _WIRE[dtype]
    expected = math.prod(shape) * wire.itemsize
    if len(data) != expected:
        raise InputError(
            "the data do not fill the shape",
            where=path,
            expected=f"{expected} bytes",
            received=f"{len(data)} bytes",
        )
    array = np.frombuffer(data, wire).reshape(shape)
    if dtype == "bool":
        if (array > 1).any():
            raise InputError("neither 0 nor 1", where=path, expected="one byte of 0 or 1 for each BOOL")
        return array.view(np.bool_)
    return array


def read_texts(data: memoryview, count: int, path: str) -> list[str]:
    """The elements of a BYTES tensor, as text.

    Raises:
        InputError: another number of elements, an element cut off, or not UTF-8.
    """
    texts: list[str] = []
    at = 0
    size = len(data)
    while at < size:
        if len(texts) == count:
            raise InputError("more elements than the shape holds", where=path, expected=f"{count} elements")
        end = at + _LENGTH.size
        if end <= size:
            end += _LENGTH.unpack_from(data, at)[0]
        if end > size:
            raise InputError("an element is cut off", where=f"{path}[{len(texts)}]")
        try:
            texts.append(str(data[at + _LENGTH.size : end], "utf-8"))
        except UnicodeDecodeError:
            raise InputError("text that is not UTF-8", where=f"{path}[{len(texts)}]") from None
        at = end
    if len(texts) != count:
        raise InputError(
            "the data do not fill the shape",
            where=path,
            expected=f"{count} elements",
            received=f"{len(texts)} elements",
        )
    return texts


def tensor_bytes(dtype: Dtype, values: NDArray[Any]) -> bytes:
    """A tensor as it goes over the wire."""
    if dtype == "string":
        parts = []
        for one in values.ravel().tolist():
            text = one if isinstance(one, bytes) else str(one).encode()
            parts += [_LENGTH.pack(len(text)), text]
        return b"".join(parts)
    return values.astype(_WIRE[dtype], copy=False).tobytes()
