"""Labels for erased predictions are turned away before they are written anywhere.

The keeper leaves the hashes of erased ids, sorted, in one small file that every process maps into memory; so
a look-up needs no table and costs microseconds. A label that slips through while an erasure is under way is
refused by the keeper, as before.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.files import sync_file
from holdfast.prediction_log.digests import DIGEST_BYTES, digest_of
from holdfast.prediction_log.errors import ErasedPredictionError

if TYPE_CHECKING:
    from holdfast.prediction_log.labels import Label
    from holdfast.prediction_log.spool import SpoolWriter

_MAGIC: Final = b"HFERASE1"
_KEY_BYTES: Final = 64
_HEAD_BYTES: Final = len(_MAGIC) + 1 + _KEY_BYTES
_EMPTY: Final[NDArray[np.bytes_]] = np.empty(0, dtype=f"S{DIGEST_BYTES}")


def erased_file(log_folder: Path) -> Path:
    """Hashes of erased ids; absent until the first erasure."""
    return log_folder / "erased.ids"


def write_erased(log_folder: Path, key: bytes, digests: Iterable[bytes]) -> None:
    """Put the file in the place of the one that is there: magic, length of the key, key, sorted hashes."""
    path = erased_file(log_folder)
    partial = path.with_suffix(".partial")
    head = _MAGIC + bytes([len(key)]) + key.ljust(_KEY_BYTES, b"\0")
    partial.write_bytes(head + b"".join(sorted(digests)))
    sync_file(partial)  # a loss of power leaves the one or the other
    partial.replace(path)


class LabelDoor:
    """Takes labels for one log and turns away those of erased predictions; safe from several threads.

    Args:
        writer: of the log.
    """

    def __init__(self, writer: SpoolWriter) -> None:
        self._writer = writer
        self._path = erased_file(writer.log_folder)
        self._seen: tuple[int, int, int] | None = None
        self._key = b""
        self._digests = _EMPTY
        self.refused = 0
        """Labels turned away."""

    def append(self, labels: Sequence[Label]) -> list[int]:
        """Write the labels but for those of erased predictions; returns the places of these.

        Raises:
            ErasedPredictionError: there is no other among them.
            LogFullError: they cannot be written.
        """
        places = self.erased([label.prediction_id for label in labels])
        if not places:
            self._writer.append_labels(labels)
            return places
        turned_away = set(places)
        kept = [label for place, label in enumerate(labels) if place not in turned_away]
        if kept:
            self._writer.append_labels(kept)
        self.refused += len(places)
        if not kept:
            raise ErasedPredictionError(
                "the prediction was erased on request, and its labels are not kept",
                where="$.prediction_id" if len(labels) == 1 else "$[0].prediction_id",
                expected="the id of a prediction that is held, or of one still to come",
                next_step="Drop the label, and whatever else you hold about this prediction",
            )
        return places

    def erased(self, prediction_ids: Sequence[str]) -> list[int]:
        """Places of the ids that were erased."""
        self._look()
        digests = self._digests
        if not len(digests):
            return []
        asked = np.array([digest_of(self._key, name) for name in prediction_ids], dtype=digests.dtype)
        found = np.minimum(np.searchsorted(digests, asked), len(digests) - 1)
        places: list[int] = np.flatnonzero(digests[found] == asked).tolist()
        return places

    def _look(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if seen == self._seen:
            return
        with self._path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes < _HEAD_BYTES or (size_bytes - _HEAD_BYTES) % DIGEST_BYTES:
                return  # cut off by a loss of power: the keeper, when it begins, writes it anew
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if content[: len(_MAGIC)] == _MAGIC:
            length = content[len(_MAGIC)]
            key = content[len(_MAGIC) + 1 : len(_MAGIC) + 1 + length]
            digests = np.frombuffer(content, _EMPTY.dtype, offset=_HEAD_BYTES)
            self._key, self._digests = key, digests
        self._seen = seen
