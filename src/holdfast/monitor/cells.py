"""Values of an Arrow column as arrays: images and sounds as numbers, as bytes of a file, or as its path."""

from __future__ import annotations

import io
import stat
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Cell = tuple[NDArray[Any] | None, float | None]
"""The value, and the rate in Hz where a sound brings it along."""
_PICTURES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_PICTURE_FILES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_WAVE_TYPES: Final[Mapping[int, str]] = {1: "<u1", 2: "<i2", 4: "<i4"}
_SAMPLE: Final = 20
_MOST_BYTES: Final = 1 << 28
"""Of one file: more is no value of a row."""


def kind_of(held: pa.ChunkedArray) -> str | None:
    """The kind of a column by its type and its first values; None where that does not tell.

    Lists of numbers are embeddings if all are of one length, lists of lists images. A list of numbers of many
    lengths may be a sound, but its rate is unknown: that is for the caller to say.
    """
    import pyarrow as pa

    kind = held.type
    if pa.types.is_primitive(kind):
        return None
    some = held.slice(0, _SAMPLE * 10)
    # What drops nulls imports 8 MB of Arrow's functions.
    some = (some.drop_null() if some.null_count else some).slice(0, _SAMPLE)
    if not len(some):
        return None
    if _is_list(kind):
        if _is_list(kind.value_type):
            return "image"
        lengths = {len(one.values) for one in some}
        numbers = pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        return "embedding" if numbers and len(lengths) == 1 and max(lengths) > 1 else None
    first = some[0].as_py()
    if isinstance(first, dict):
        if {"array", "sampling_rate"} <= set(first):
            return "audio"
        first = first.get("bytes") or first.get("path")
    if isinstance(first, bytes):
        return _kind_of_bytes(first)
    if isinstance(first, str):
        names = [one.as_py() for one in some]
        texts = [one if isinstance(one, str) else first for one in names]
        if all(text.lower().endswith(_PICTURE_FILES) for text in texts) and Path(first).is_file():
            return "image"
        if all(text.lower().endswith(".wav") for text in texts) and Path(first).is_file():
            return "audio"
    return None


def _kind_of_bytes(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio"
    if head.startswith(_PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    return None


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def cells(held: pa.ChunkedArray | pa.Array) -> Iterator[Cell]:
    """Each value as an array; None for what is missing or cannot be read."""
    for scalar in held:
        if not scalar.is_valid:
            yield None, None
        elif _is_list(scalar.type):
            yield _nested(scalar.values), None
        else:
            yield _read(scalar.as_py())


def _nested(values: pa.Array) -> NDArray[Any] | None:
    shape = [len(values)]
    while _is_list(values.type):
        if not len(values) or values.null_count:
            return None
        inner = values.flatten()
        width, rest = divmod(len(inner), len(values))
        if rest or any(len(one.values) != width for one in (values[0], values[len(values) - 1])):
            return None
        shape.append(width)
        values = inner
    return _flat(values, shape)


def _flat(values: pa.Array, shape: list[int]) -> NDArray[Any] | None:
    import pyarrow as pa

    if values.null_count or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return None
    # Arrow's own `to_numpy` imports pandas: a second and 60 MB that nothing else here needs.
    kind = np.dtype(values.type.to_pandas_dtype())
    buffer = values.buffers()[1]
    if buffer is None:
        return None
    found = np.frombuffer(buffer, kind, len(values), values.offset * kind.itemsize)
    return found.reshape(shape)


def _read(value: Any) -> Cell:
    rate_hz: float | None = None
    if isinstance(value, dict):
        if value.get("array") is not None:
            rate = value.get("sampling_rate")
            return np.asarray(value["array"]), float(rate) if rate else None
        value = value.get("bytes") or value.get("path")
    try:
        if isinstance(value, str):
            path = Path(value)
            held = path.stat()
            # A pipe or a device has no size, and may never end.
            if not stat.S_ISREG(held.st_mode) or held.st_size > _MOST_BYTES:
                return None, None
            value = path.read_bytes()
        if not isinstance(value, bytes):
            return None, None
        if _kind_of_bytes(value[:16]) == "audio":
            return _wave(value)
        return _picture(value), rate_hz
    except (OSError, ValueError, EOFError, wave.Error):  # a broken file is a missing value
        return None, None


def _wave(content: bytes) -> Cell:
    with wave.open(io.BytesIO(content)) as file:
        width = file.getsampwidth()
        kind = _WAVE_TYPES.get(width)
        content = file.readframes(file.getnframes())
        if width == 3:  # as the upper three of four bytes
            three = np.frombuffer(content, np.uint8).reshape(-1, 3)
            content, kind = np.pad(three, ((0, 0), (1, 0))).tobytes(), "<i4"
        if kind is None or not content:
            return None, None
        samples = np.frombuffer(content, kind)
        channels = file.getnchannels()
        whole = len(samples) // channels * channels
        return samples[:whole].reshape(-1, channels), float(file.getframerate())


def _picture(content: bytes) -> NDArray[Any] | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            plain = image if image.mode in {"L", "RGB", "RGBA"} else image.convert("RGB")
            return np.asarray(plain)
    except (Image.DecompressionBombError, SyntaxError):
        return None
