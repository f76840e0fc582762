"""Profiles of windows that will not change any more, as small files, each written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.profiling import WindowProfile

FORMAT = 6


class _Stored(msgspec.Struct, frozen=True):
    format: int
    start: int
    end: int
    rows: int
    labelled: int
    counts: dict[str, bytes]
    concept: bytes | None
    quality: tuple[int, bytes]
    quartiles: dict[str, tuple[float, float, float]]
    constant: tuple[str, ...]
    concept_parts: int
    products: bytes | None
    repeated: int
    returned: int
    beyond: dict[str, tuple[float, float, float]]


class ProfileStore:
    """Profiles on one reference under one way of cutting windows.

    Args:
        folder: made when the first profile is put in. Removing it costs only time: the log has the rows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> list[WindowProfile]:
        """All profiles in order of time; one that cannot be read ends the list, and is made again."""
        found: list[WindowProfile] = []
        for path in sorted(self._folder.glob("*.profile")):
            try:
                profile = _decode(path.read_bytes())
            except (msgspec.MsgspecError, ValueError, OSError):
                break
            if found and profile.start < found[-1].end:
                break
            found.append(profile)
        return found

    def put(self, profile: WindowProfile) -> None:
        """Write one profile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{profile.start + 2**62:020d}.profile"
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with unfinished.open("wb") as file:
            file.write(_encode(profile))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def _encode(profile: WindowProfile) -> bytes:
    counts: Mapping[str, bytes] = {name: _packed(each) for name, each in profile.counts.items()}
    stored = _Stored(
        FORMAT,
        profile.start,
        profile.end,
        profile.rows,
        profile.labelled,
        dict(counts),
        None if profile.concept is None else profile.concept.tobytes(),
        (profile.quality.shape[0], profile.quality.tobytes()),
        dict(profile.quartiles),
        tuple(sorted(profile.constant)),
        0 if profile.concept is None else len(profile.concept),
        None if profile.products is None else profile.products.tobytes(),
        profile.repeated,
        profile.returned,
        dict(profile.beyond),
    )
    return msgspec.msgpack.encode(stored)


def _decode(raw: bytes) -> WindowProfile:
    stored = msgspec.msgpack.decode(raw, type=_Stored)
    if stored.format != FORMAT:
        raise ValueError(f"profile format {stored.format}")
    rows, quality = stored.quality
    return WindowProfile(
        stored.start,
        stored.end,
        stored.rows,
        stored.labelled,
        {name: _unpacked(each) for name, each in stored.counts.items()},
        None if stored.concept is None else np.frombuffer(stored.concept).reshape(stored.concept_parts, -1),
        np.frombuffer(quality).reshape(rows, -1),
        stored.quartiles,
        frozenset(stored.constant),
        None if stored.products is None else _square(np.frombuffer(stored.products)),
        stored.repeated,
        stored.returned,
        stored.beyond,
    )


def _packed(counts: NDArray[np.int64]) -> bytes:
    """The width in bytes, then the counts in so many bytes each: most fit in one or two."""
    greatest = int(counts.max(initial=0))
    kind = (
        np.uint8
        if greatest < 1 << 8
        else np.uint16
        if greatest < 1 << 16
        else np.uint32
        if greatest < 1 << 32
        else np.uint64
    )
    return bytes([np.dtype(kind).itemsize]) + counts.astype(kind).tobytes()


def _unpacked(stored: bytes) -> NDArray[np.int64]:
    kind = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[stored[0]]
    # Left as narrow as they are: a year of hourly windows has millions of them. Sums are taken in doubles.
    return np.frombuffer(stored, dtype=kind, offset=1)


def _square(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    width = round(len(flat) ** 0.5)
    return flat.reshape(width, width)
