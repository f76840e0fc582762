"""Profiles of windows that will not change any more, as small files, each written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from holdfast.monitor.reference import WindowProfile

FORMAT = 1


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
    counts: Mapping[str, bytes] = {name: each.tobytes() for name, each in profile.counts.items()}
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
        {name: np.frombuffer(each, dtype=np.int64) for name, each in stored.counts.items()},
        None if stored.concept is None else np.frombuffer(stored.concept).reshape(4, -1),
        np.frombuffer(quality).reshape(rows, -1),
        stored.quartiles,
        frozenset(stored.constant),
    )
