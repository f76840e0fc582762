"""Counts of all workers through small files, so that any worker can answer `/metrics` for the whole service.

`<replica>.counts` is one worker's latest counts, replaced as a whole. `retired.counts` holds the sum of dead
workers and their names: a file whose worker is named there is no longer read, so nothing is counted twice or
lost between the two steps of retiring.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from holdfast.telemetry.counts import ServiceCounts

RETIRED: Final = "retired.counts"
_MOST_READS: Final = 50
"""Each worker that dies while we read costs one more."""


class _Retired(msgspec.Struct):
    replicas: list[str]
    counts: ServiceCounts


_encode = msgspec.msgpack.Encoder().encode
_decode_counts = msgspec.msgpack.Decoder(ServiceCounts).decode
_decode_retired = msgspec.msgpack.Decoder(_Retired).decode


def write_snapshot(folder: Path, replica: str, counts: ServiceCounts) -> None:
    """Replace this worker's file; a reader sees the old or the new one, never half."""
    _replace(folder / f"{replica}.counts", _encode(counts))


def retire(folder: Path, replica: str) -> None:
    """Move a dead worker's counts into the sum. Called by one process at a time."""
    path = folder / f"{replica}.counts"
    try:
        counts = _decode_counts(path.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return
    retired = _read_retired(folder)
    if replica not in retired.replicas:
        retired.counts.add(counts, alive=False)
        retired.replicas.append(replica)
        _replace(folder / RETIRED, _encode(retired))
    path.unlink(missing_ok=True)


def read_all(folder: Path, own: tuple[str, ServiceCounts] | None = None) -> ServiceCounts:
    """The sum over living and dead workers of this run of the service.

    Args:
        folder: of the run.
        own: replica and counts of one that could not write its file; they count in its place.
    """
    total = ServiceCounts()
    for _ in range(_MOST_READS):
        retired = _read_retired(folder)
        total = ServiceCounts()
        total.add(retired.counts, alive=False)
        if own is not None:
            total.add(own[1], alive=True)
        for path in sorted(folder.glob("*.counts")):
            if path.name == RETIRED or path.stem in retired.replicas or (own and path.stem == own[0]):
                continue
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                total.add(_decode_counts(path.read_bytes()), alive=True)
        if len(_read_retired(folder).replicas) == len(retired.replicas):
            break  # nobody was retired while we read
    return total


def _read_retired(folder: Path) -> _Retired:
    try:
        return _decode_retired((folder / RETIRED).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return _Retired([], ServiceCounts())


def _replace(path: Path, content: bytes) -> None:
    # A thread writes while the loop answers /metrics; each has a file of its own.
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
