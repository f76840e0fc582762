"""Which predictions were erased, known by a hash of the id: a label that comes for one later is refused.

The hash is BLAKE2b with 128 bits, keyed with the random id of the table, so equal ids in two logs have two
hashes. An id that can be guessed can be looked up by whoever has the log; what it was an answer to cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from holdfast.prediction_log.datasets import dataset_of
from holdfast.prediction_log.folders import erased_folder
from holdfast.prediction_log.schema import ERASED
from holdfast.prediction_log.tables import LogTable

_DIGEST_BYTES: Final = 16


class ErasedIds:
    """The erased ids of one log; about 100 bytes of memory each.

    Reads the table once, at construction: make a new one where newer erasures matter.
    """

    def __init__(self, log_folder: Path) -> None:
        self._folder = erased_folder(log_folder)
        self._key = b""
        self._digests: frozenset[bytes] = frozenset()
        if DeltaTable.is_deltatable(str(self._folder)):
            delta = DeltaTable(str(self._folder))
            self._key = _key(delta)
            self._digests = frozenset(
                dataset_of(delta, self._folder).to_table(["digest"])["digest"].to_pylist()
            )

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, prediction_id: str) -> bool:
        return bool(self._digests) and _digest(self._key, prediction_id) in self._digests

    def mask(self, prediction_ids: Sequence[str]) -> NDArray[np.bool_]:
        """For each id whether it was erased."""
        return np.fromiter((name in self for name in prediction_ids), np.bool_, len(prediction_ids))

    def add(self, prediction_ids: Iterable[str], now_us: int) -> None:
        """Remember these ids; those that are known already are not entered again."""
        table = LogTable.open_or_create(self._folder, ERASED)
        self._key = self._key or table.id.encode()
        fresh = sorted({_digest(self._key, name) for name in prediction_ids} - self._digests)
        if fresh:
            table.append(
                pa.table({"digest": fresh, "erased_at": pa.array([now_us] * len(fresh))}).cast(ERASED), {}
            )
            self._digests = self._digests.union(fresh)


def _key(delta: DeltaTable) -> bytes:
    return str(delta.metadata().id).encode()


def _digest(key: bytes, prediction_id: str) -> bytes:
    text = prediction_id.encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES, key=key).digest()
